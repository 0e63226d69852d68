#include "tests/support/checkpoint_builder.h"

#include <random>

#include "gtest/gtest.h"
#include "model_loader/checkpoint.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::model {
namespace {

/// Every option of the format with equal chances.
class RandomConfig {
 public:
  explicit RandomConfig(uint32_t seed) : random_(seed) {}

  ModelConfig Next() {
    ModelConfig config;
    config.vocab_size = 256 + Below(50);
    config.hidden_size = 1 + Below(40);
    config.intermediate_size = 1 + Below(40);
    config.num_layers = 1 + static_cast<int32_t>(Below(3));
    config.max_position_embeddings = 1 + Below(100);
    config.attention = NextAttention();
    config.norm = OneOf({kernels::NormKind::kLayerNorm, kernels::NormKind::kRmsNorm});
    config.mlp =
        OneOf({kernels::MlpKind::kGelu, kernels::MlpKind::kGeluTanh, kernels::MlpKind::kSwiglu});
    config.attention_bias = Coin();
    config.mlp_bias = Coin();
    config.tie_word_embeddings = Coin();
    if (Coin()) config.bos_token_ids = {0};
    if (Coin()) config.eos_token_ids = {1, 2};
    if (Coin()) config.tokenizer = TokenizerKind::kBytes;
    return config;
  }

 private:
  kernels::AttentionSpec NextAttention() {
    kernels::AttentionSpec spec;
    spec.num_kv_heads = 1 + static_cast<int32_t>(Below(3));
    spec.num_heads = spec.num_kv_heads * (1 + static_cast<int32_t>(Below(3)));
    spec.head_dim = 2 * (1 + static_cast<int32_t>(Below(4)));
    spec.hierarchy.rank = 1 << Below(3);
    spec.hierarchy.group_size = spec.hierarchy.rank << Below(3);
    spec.hierarchy.num_levels = 1 + static_cast<int32_t>(Below(4));
    spec.hierarchy.sink_tokens = static_cast<int32_t>(Below(spec.hierarchy.group_size + 1));
    spec.downsampling =
        OneOf({kernels::Downsampling::kGroupedConv, kernels::Downsampling::kConv,
               kernels::Downsampling::kAverage, kernels::Downsampling::kHierarchical,
               kernels::Downsampling::kSelect});
    spec.share_levels = spec.downsampling == kernels::Downsampling::kHierarchical && Coin();
    spec.scale_far_field = Coin();
    spec.level_bias = Coin();
    spec.padding = OneOf({kernels::Padding::kMasked, kernels::Padding::kZeroKeys});
    spec.positions = OneOf({kernels::PositionEmbedding::kLearned, kernels::PositionEmbedding::kRope,
                            kernels::PositionEmbedding::kNone});
    if (spec.positions == kernels::PositionEmbedding::kRope) {
      spec.far_positions = OneOf({kernels::FarPositions::kCenter, kernels::FarPositions::kNone});
    }
    if (spec.Selects()) MakeSelector(spec);
    if (spec.FarIsRotated() && Coin()) {
      spec.max_distance = 4 * spec.hierarchy.group_size + Below(100);
    }
    return spec;
  }

  void MakeSelector(kernels::AttentionSpec& spec) {
    kernels::Hierarchy& h = spec.hierarchy;
    h.group_size += 1;  // so that no rank divides it
    h.sink_tokens = static_cast<int32_t>(Below(h.group_size - h.rank + 1));
    spec.scale_far_field = false;
    spec.padding = kernels::Padding::kMasked;
    if (spec.positions == kernels::PositionEmbedding::kRope) {
      spec.far_positions = OneOf({kernels::FarPositions::kOwn, kernels::FarPositions::kNone});
    }
    spec.select_lag = static_cast<int32_t>(Below(2 * h.group_size));
    spec.select_novel = static_cast<int32_t>(Below(h.rank + 1));
  }

  int64_t Below(int64_t end) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(end));
  }
  bool Coin() { return Below(2) == 0; }
  template <typename T>
  T OneOf(std::initializer_list<T> choices) {
    return choices.begin()[Below(static_cast<int64_t>(choices.size()))];
  }

  std::mt19937 random_;
};

TEST(CheckpointBuilderTest, EveryConfigurationMakesACheckpointThatOpens) {
  RandomConfig random(1);
  for (int round = 0; round < 200; ++round) {
    const ModelConfig config = random.Next();
    const kernels::WeightFormat dtype =
        std::vector{kernels::WeightFormat::kF32, kernels::WeightFormat::kF16,
                    kernels::WeightFormat::kBF16}[round % 3];
    const int columns = 1 + round % config.attention.hierarchy.num_levels;
    const testing::TempFolder folder;
    ASSERT_TRUE(testing::WriteRandomCheckpoint(config, round, dtype, folder.path(), columns).ok());
    const auto checkpoint = Checkpoint::Open(folder.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status() << testing::ConfigJson(config);
    EXPECT_EQ(testing::ConfigJson(checkpoint->config()), testing::ConfigJson(config));
  }
}

TEST(CheckpointBuilderTest, TheSameSeedGivesTheSameBytes) {
  const ModelConfig config = RandomConfig(2).Next();
  const testing::TempFolder folder;
  const auto write = [&](uint64_t seed) {
    EXPECT_TRUE(
        testing::WriteRandomCheckpoint(config, seed, kernels::WeightFormat::kBF16, folder.path())
            .ok());
    return testing::ReadFile(folder.path() / "model.safetensors");
  };
  const std::string first = write(7);
  EXPECT_EQ(write(7), first);
  EXPECT_NE(write(8), first);
}

TEST(CheckpointBuilderTest, ElementsHaveTheirFormat) {
  using std::string_literals::operator""s;
  std::string bytes;
  testing::AppendElement(-1.5F, kernels::WeightFormat::kF32, bytes);
  testing::AppendElement(-1.5F, kernels::WeightFormat::kF16, bytes);
  testing::AppendElement(-1.5F, kernels::WeightFormat::kBF16, bytes);
  testing::AppendElement(1e-7F, kernels::WeightFormat::kF16, bytes);
  EXPECT_EQ(bytes, "\0\0\xC0\xBF\0\xBE\xC0\xBF\0\0"s);
}

}  // namespace
}  // namespace fmaserver::model
