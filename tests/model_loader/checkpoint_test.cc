#include "model_loader/checkpoint.h"

#include <algorithm>
#include <functional>

#include "gtest/gtest.h"
#include "model_loader/expected_tensors.h"
#include "model_loader/tensor_names.h"
#include "nlohmann/json.hpp"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::model {
namespace {

using nlohmann::json;
using testing::ExpectRefusal;
using testing::StoredTensor;
using testing::TempFolder;
using testing::TinyConfig;
using testing::WriteFile;

namespace fs = std::filesystem;

/// A valid checkpoint in memory that a test damages before it is written.
class Draft {
 public:
  explicit Draft(const ModelConfig& config) : config_(json::parse(testing::ConfigJson(config))) {
    for (const ExpectedTensor& expected : ExpectedTensors(config)) Add(expected);
  }

  json& config() { return config_; }
  std::vector<StoredTensor>& tensors() { return tensors_; }

  void Add(const ExpectedTensor& expected) {
    int64_t elements = 1;
    for (const int64_t extent : expected.shape) elements *= extent;
    tensors_.push_back({expected.name, kernels::WeightFormat::kBF16, expected.shape,
                        std::string(static_cast<size_t>(elements) * 2, '\0')});
  }

  void Remove(const std::string& name) {
    std::erase_if(tensors_, [&](const StoredTensor& tensor) { return tensor.name == name; });
  }

  void Write(const fs::path& folder) const {
    ASSERT_TRUE(WriteFile(folder / "config.json", config_.dump()));
    ASSERT_TRUE(WriteFile(folder / "model.safetensors", testing::SafetensorsImage(tensors_)));
  }

  absl::Status Open() const {
    const TempFolder folder;
    Write(folder.path());
    return Checkpoint::Open(folder.path()).status();
  }

 private:
  json config_;
  std::vector<StoredTensor> tensors_;
};

TEST(CheckpointTest, OpensTheGoldenCheckpoints) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator(FMA_SOURCE_DIR "/tests/data/golden")) {
    const auto checkpoint = Checkpoint::Open(entry.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(checkpoint->name(), entry.path().filename());
    const ModelConfig& config = checkpoint->config();
    EXPECT_EQ(checkpoint->Tensor(WeightOf(kEmbedTokens)).shape,
              std::vector<int64_t>({config.vocab_size, config.hidden_size}));
    EXPECT_EQ(checkpoint->tokenizer(), nullptr);
    EXPECT_GT(checkpoint->WeightBytes(), 0);
    ++count;
  }
  EXPECT_GE(count, 15);
}

TEST(CheckpointTest, TensorsOutliveAMove) {
  const TempFolder folder;
  ASSERT_TRUE(
      testing::WriteRandomCheckpoint(TinyConfig(), 1, kernels::WeightFormat::kF32, folder.path())
          .ok());
  auto opened = Checkpoint::Open(folder.path());
  ASSERT_TRUE(opened.ok()) << opened.status();
  const std::byte* data = opened->Tensor(WeightOf(kFinalNorm)).data;
  const Checkpoint moved = *std::move(opened);
  EXPECT_EQ(moved.Tensor(WeightOf(kFinalNorm)).data, data);
  EXPECT_EQ(moved.TensorIfPresent(BiasOf(kFinalNorm)), nullptr);
}

TEST(CheckpointTest, IsNamedAfterItsFolder) {
  const TempFolder folder;
  const fs::path path = folder.path() / "tiny-1";
  ASSERT_TRUE(
      testing::WriteRandomCheckpoint(TinyConfig(), 1, kernels::WeightFormat::kF32, path).ok());
  EXPECT_EQ(Checkpoint::Open(path.string() + "/")->name(), "tiny-1");
  EXPECT_EQ(Checkpoint::Open(path / ".")->name(), "tiny-1");
}

TEST(CheckpointTest, TakesTheTokenizerThatIsThere) {
  const TempFolder folder;
  ModelConfig config = TinyConfig();
  config.vocab_size = 512;
  ASSERT_TRUE(
      testing::WriteRandomCheckpoint(config, 1, kernels::WeightFormat::kF16, folder.path()).ok());
  fs::copy_file(FMA_SOURCE_DIR "/tests/data/tokenizer/bpe_exact.model",
                folder.path() / "tokenizer.model");
  auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ASSERT_NE(checkpoint->tokenizer(), nullptr);
  EXPECT_EQ(checkpoint->tokenizer()->Kind(), "sentencepiece");
  EXPECT_EQ(checkpoint->tokenizer()->VocabSize(), 512);

  config.tokenizer = TokenizerKind::kBytes;
  ASSERT_TRUE(WriteFile(folder.path() / "config.json", testing::ConfigJson(config)));
  checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->tokenizer()->Kind(), "bytes");
}

TEST(CheckpointTest, TokenizerJsonComesFirst) {
  const TempFolder folder;
  ModelConfig config = TinyConfig();
  config.vocab_size = 1024;
  ASSERT_TRUE(
      testing::WriteRandomCheckpoint(config, 1, kernels::WeightFormat::kF16, folder.path()).ok());
  const fs::path data = FMA_SOURCE_DIR "/tests/data/tokenizer";
  fs::copy_file(data / "bpe_exact.model", folder.path() / "tokenizer.model");
  fs::copy_file(data / "llama3.json", folder.path() / "tokenizer.json");
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->tokenizer()->Kind(), "tokenizer.json");
  EXPECT_EQ(checkpoint->tokenizer()->VocabSize(), 1024);
}

TEST(CheckpointTest, TakesTheChatTemplateThatIsThere) {
  const TempFolder folder;
  ASSERT_TRUE(
      testing::WriteRandomCheckpoint(TinyConfig(), 1, kernels::WeightFormat::kF16, folder.path())
          .ok());
  EXPECT_EQ(Checkpoint::Open(folder.path())->chat_template(), nullptr);
  const fs::path file = folder.path() / "chat_template.jinja";
  ASSERT_TRUE(
      WriteFile(file, "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ messages[0].role }}"));
  ASSERT_TRUE(WriteFile(folder.path() / "tokenizer_config.json",
                        R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "x": 1})"));
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const std::vector<chat::Message> messages = {{"user", ""}};
  EXPECT_EQ(checkpoint->chat_template()->Render(messages)->text, "<s></s>user");
}

TEST(CheckpointTest, RefusesAChatTemplateThatItCannotRead) {
  const TempFolder folder;
  ASSERT_TRUE(
      testing::WriteRandomCheckpoint(TinyConfig(), 1, kernels::WeightFormat::kF16, folder.path())
          .ok());
  ASSERT_TRUE(WriteFile(folder.path() / "chat_template.jinja", "a\n{{ messages|xmlattr }}"));
  ExpectRefusal(Checkpoint::Open(folder.path()).status(),
                {"chat_template.jinja: line 2: filter", "without this file there is all but Chat"});
  ASSERT_TRUE(WriteFile(folder.path() / "chat_template.jinja", "a"));
  ASSERT_TRUE(WriteFile(folder.path() / "tokenizer_config.json", R"({"bos_token": 3})"));
  ExpectRefusal(Checkpoint::Open(folder.path()).status(), {"\"bos_token\" is 3", "a text"});
}

TEST(CheckpointTest, SaysWhichFileIsMissing) {
  const TempFolder folder;
  absl::Status status = Checkpoint::Open(folder.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("config.json"));

  ASSERT_TRUE(WriteFile(folder.path() / "config.json", testing::ConfigJson(TinyConfig())));
  status = Checkpoint::Open(folder.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("model.safetensors.index.json"));
}

TEST(CheckpointTest, NormBiasesAreOptionalWithLayernorm) {
  ModelConfig config = TinyConfig();
  config.norm = kernels::NormKind::kLayerNorm;
  Draft draft(config);
  EXPECT_TRUE(draft.Open().ok());
  draft.Remove("model.norm.bias");
  EXPECT_TRUE(draft.Open().ok());
  draft.Remove("model.norm.weight");
  EXPECT_FALSE(draft.Open().ok());
}

TEST(CheckpointTest, SharedLevelsMayBringAMergeThatOneLevelDoesNotNeed) {
  ModelConfig config = TinyConfig();
  config.attention.share_levels = true;
  config.attention.hierarchy.num_levels = 1;
  Draft draft(config);
  EXPECT_TRUE(draft.Open().ok());
  for (const std::string_view name : {kKeyDownsampling, kValueDownsampling}) {
    for (int layer = 0; layer < 2; ++layer) {
      draft.Remove(WeightOf(DownsamplingModule(layer, name, 1)));
      draft.Remove(BiasOf(DownsamplingModule(layer, name, 1)));
    }
  }
  EXPECT_TRUE(draft.Open().ok());
}

TEST(CheckpointTest, LevelBiasMayHaveFewerColumnsThanLevels) {
  ModelConfig config = TinyConfig();
  config.attention.level_bias = true;
  for (int columns = 1; columns <= 3; ++columns) {
    const TempFolder folder;
    ASSERT_TRUE(testing::WriteRandomCheckpoint(config, 1, kernels::WeightFormat::kF32,
                                               folder.path(), columns)
                    .ok());
    const auto checkpoint = Checkpoint::Open(folder.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(checkpoint->Tensor(WeightOf(LayerModule(0, kLevelBias))).shape,
              std::vector<int64_t>({4, columns}));
  }
  const TempFolder folder;
  ASSERT_TRUE(
      testing::WriteRandomCheckpoint(config, 1, kernels::WeightFormat::kF32, folder.path(), 4)
          .ok());
  ExpectRefusal(Checkpoint::Open(folder.path()).status(),
                {"tensor \"model.layers.0.self_attn.level_bias.weight\": shape is [4, 4]",
                 "allowed: [4, 1..3]"});
}

TEST(CheckpointTest, RefusesEveryMissingTensor) {
  ModelConfig config = TinyConfig();
  config.attention_bias = true;
  config.qk_norm = true;
  const Draft valid(config);
  ASSERT_TRUE(valid.Open().ok());
  for (const ExpectedTensor& expected : ExpectedTensors(config)) {
    Draft draft = valid;
    draft.Remove(expected.name);
    ExpectRefusal(draft.Open(), {"fma-test-", "tensor \"" + expected.name + "\" is missing",
                                 "allowed: shape " + expected.AllowedShape()});
  }
}

TEST(CheckpointTest, RefusesEveryWrongShape) {
  ModelConfig config = TinyConfig();
  config.qk_norm = true;
  const Draft valid(config);
  for (size_t i = 0; i < Draft(valid).tensors().size(); ++i) {
    Draft draft = valid;
    StoredTensor& tensor = draft.tensors()[i];
    tensor.shape.insert(tensor.shape.begin(), 1);
    ExpectRefusal(draft.Open(), {"tensor \"" + tensor.name + "\": shape is [1, ", "allowed: ["});
  }
}

struct Unexpected {
  const char* name;
  std::string tensor;
  std::string reason;
  std::function<void(ModelConfig&)> change = [](ModelConfig&) {};
};

class UnexpectedTensorTest : public ::testing::TestWithParam<Unexpected> {};

TEST_P(UnexpectedTensorTest, IsRefusedWithTheReason) {
  ModelConfig config = TinyConfig();
  GetParam().change(config);
  Draft draft(config);
  draft.Add({.name = GetParam().tensor, .shape = {1}});
  ExpectRefusal(draft.Open(), {"tensor \"" + GetParam().tensor + "\" is unexpected; allowed: ",
                               GetParam().reason});
}

INSTANTIATE_TEST_SUITE_P(
    Table, UnexpectedTensorTest,
    ::testing::ValuesIn(std::vector<Unexpected>{
        {"Stray", "model.extra", "no model has a tensor of this name"},
        {"Tied", "lm_head.weight", "\"tie_word_embeddings\" is true",
         [](ModelConfig& config) { config.tie_word_embeddings = true; }},
        {"Positions", "model.embed_positions.weight", "\"position_embedding\" is not \"learned\""},
        {"Layer", "model.layers.2.mlp.up_proj.weight", "\"num_hidden_layers\" is 2"},
        {"NormBias", "model.norm.bias", "\"norm\" is \"rmsnorm\""},
        {"LayerNormBias", "model.layers.0.input_layernorm.bias", "\"norm\" is \"rmsnorm\""},
        {"AttentionBias", "model.layers.1.self_attn.q_proj.bias", "\"attention_bias\" is false"},
        {"MlpBias", "model.layers.1.mlp.up_proj.bias", "\"mlp_bias\" is false"},
        {"Gate", "model.layers.0.mlp.gate_proj.weight", "\"mlp\" is not \"swiglu\"",
         [](ModelConfig& config) { config.mlp = kernels::MlpKind::kGelu; }},
        {"LevelBias", "model.layers.0.self_attn.level_bias.weight", "\"fma.level_bias\" is false"},
        {"HeadNorm", "model.layers.0.self_attn.q_norm.weight", "\"qk_norm\" is false"},
        {"HeadNormBias", "model.layers.1.self_attn.k_norm.bias", "have no biases",
         [](ModelConfig& config) {
           config.qk_norm = true;
           config.norm = kernels::NormKind::kLayerNorm;
         }},
        {"Level", "model.layers.0.self_attn.k_downsample.3.weight", "\"fma.num_levels\" is 3"},
        {"SharedLevel", "model.layers.0.self_attn.k_downsample.2.weight",
         "\"fma.share_levels\" is true",
         [](ModelConfig& config) { config.attention.share_levels = true; }},
        {"AsksByToken", "model.layers.0.self_attn.q_downsample.0.weight",
         "\"fma.query_downsampling\" is false"},
        {"Average", "model.layers.0.self_attn.v_downsample.0.weight",
         "\"fma.downsampling\" is \"average\"",
         [](ModelConfig& config) {
           config.attention.downsampling = kernels::Downsampling::kAverage;
         }},
    }),
    [](const auto& info) { return std::string(info.param.name); });

TEST(CheckpointTest, RefusesMorePositionsThanTheTensorHas) {
  ModelConfig config = TinyConfig();
  config.attention.positions = kernels::PositionEmbedding::kLearned;
  Draft draft(config);
  ASSERT_TRUE(draft.Open().ok());
  draft.config()["max_position_embeddings"] = 33;
  ExpectRefusal(draft.Open(),
                {"tensor \"model.embed_positions.weight\": shape is [32, 6]", "allowed: [33, 6]"});
}

TEST(CheckpointTest, TheLargestConfigIsComparedWithoutOverflow) {
  ModelConfig config = TinyConfig();
  config.num_layers = 1024;
  config.attention.head_dim = 1024;
  config.attention.hierarchy = {.group_size = 4096, .rank = 4096, .num_levels = 40};
  config.attention.downsampling = kernels::Downsampling::kConv;
  Draft draft(TinyConfig());
  draft.config() = json::parse(testing::ConfigJson(config));
  ExpectRefusal(draft.Open(), {"shape is [16, 6]", "allowed: [4096, 6]"});
}

/// Two shards and their index, which a test damages before they are written.
struct ShardedDraft {
  std::vector<StoredTensor> first;
  std::vector<StoredTensor> second;
  json map;

  ShardedDraft() {
    Draft draft(TinyConfig());
    for (size_t i = 0; i < draft.tensors().size(); ++i) {
      const bool in_first = i % 2 == 0;
      const StoredTensor& tensor = draft.tensors()[i];
      (in_first ? first : second).push_back(tensor);
      map[tensor.name] = in_first ? "one.safetensors" : "two.safetensors";
    }
  }

  absl::StatusOr<Checkpoint> Open() const {
    const TempFolder folder;
    const fs::path& path = folder.path();
    EXPECT_TRUE(WriteFile(path / "config.json", testing::ConfigJson(TinyConfig())));
    EXPECT_TRUE(WriteFile(path / "one.safetensors", testing::SafetensorsImage(first)));
    EXPECT_TRUE(WriteFile(path / "two.safetensors", testing::SafetensorsImage(second)));
    const json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", map}};
    EXPECT_TRUE(WriteFile(path / "model.safetensors.index.json", index.dump()));
    return Checkpoint::Open(path);
  }
};

TEST(ShardedCheckpointTest, Opens) {
  const auto checkpoint = ShardedDraft().Open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->Tensor(WeightOf(kLmHead)).shape, std::vector<int64_t>({11, 6}));
}

TEST(ShardedCheckpointTest, RefusesAMissingShard) {
  ShardedDraft draft;
  draft.map[draft.first[0].name] = "three.safetensors";
  const absl::Status status = draft.Open().status();
  EXPECT_FALSE(status.ok());
}

TEST(ShardedCheckpointTest, RefusesATensorInAnotherShardThanTheMapSays) {
  ShardedDraft draft;
  draft.map[draft.first[0].name] = "two.safetensors";
  ExpectRefusal(draft.Open().status(),
                {"one.safetensors: tensor \"" + draft.first[0].name,
                 "\" is unexpected; allowed: those that model.safetensors.index.json"});
}

TEST(ShardedCheckpointTest, RefusesATensorThatTheMapLacks) {
  ShardedDraft draft;
  draft.map.erase(draft.second[0].name);
  ExpectRefusal(draft.Open().status(),
                {"two.safetensors: tensor \"" + draft.second[0].name + "\" is unexpected"});
}

TEST(ShardedCheckpointTest, RefusesATensorThatNoShardHas) {
  ShardedDraft draft;
  const std::string name = draft.second[0].name;
  draft.second.erase(draft.second.begin());
  ExpectRefusal(draft.Open().status(), {"two.safetensors: tensor \"" + name + "\" is missing"});
}

TEST(ShardedCheckpointTest, RefusesATensorInTwoShards) {
  ShardedDraft draft;
  draft.second.push_back(draft.first[0]);
  ExpectRefusal(draft.Open().status(),
                {"two.safetensors: tensor \"" + draft.first[0].name + "\" is unexpected"});
}

std::string FingerprintOf(const fs::path& folder) {
  return Checkpoint::Open(folder)->Fingerprint();
}

TEST(CheckpointTest, AnyByteChangesTheFingerprint) {
  const TempFolder folder;
  Draft(TinyConfig()).Write(folder.path());
  const std::string fingerprint = FingerprintOf(folder.path());
  EXPECT_EQ(fingerprint.size(), 32);
  EXPECT_EQ(FingerprintOf(folder.path()), fingerprint);

  const fs::path weights = folder.path() / "model.safetensors";
  std::string bytes = testing::ReadFile(weights);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  ASSERT_TRUE(WriteFile(weights, bytes));
  EXPECT_NE(FingerprintOf(folder.path()), fingerprint);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  ASSERT_TRUE(WriteFile(weights, bytes));
  EXPECT_EQ(FingerprintOf(folder.path()), fingerprint);

  const fs::path config = folder.path() / "config.json";
  ASSERT_TRUE(WriteFile(config, testing::ReadFile(config) + " "));
  EXPECT_NE(FingerprintOf(folder.path()), fingerprint);
}

TEST(CheckpointTest, RefusesATokenizerThatIsTooLarge) {
  const TempFolder folder;
  Draft(TinyConfig()).Write(folder.path());
  ASSERT_TRUE(WriteFile(folder.path() / "tokenizer.model", "x"));
  fs::resize_file(folder.path() / "tokenizer.model", (64 << 20) + 1);
  ExpectRefusal(Checkpoint::Open(folder.path()).status(),
                {"tokenizer.model: size is more than 67108864 bytes"});
}

}  // namespace
}  // namespace fmaserver::model
