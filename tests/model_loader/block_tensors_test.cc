// Checkpoints whose weights are integers in blocks, whole and damaged.
#include "model_loader/block_tensors.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model_loader/checkpoint.h"
#include "model_loader/expected_tensors.h"
#include "model_loader/tensor_names.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::model {
namespace {

using kernels::WeightFormat;
using testing::ExpectRefusal;
using testing::StoredTensor;

/// 64 wide, with 10 inner channels, so that all but the down projections have whole blocks.
ModelConfig Config() {
  ModelConfig config = testing::TinyConfig();
  config.hidden_size = 64;
  config.num_layers = 1;
  config.attention.head_dim = 16;
  return config;
}

StoredTensor Zeros(std::string name, WeightFormat dtype, std::vector<int64_t> shape) {
  int64_t bytes = kernels::SizeOf(dtype);
  for (const int64_t extent : shape) bytes *= extent;
  return {std::move(name), dtype, std::move(shape), std::string(static_cast<size_t>(bytes), '\0')};
}

/// A valid checkpoint that a test damages: the embedding is kInt8, the up projection kInt4, and the
/// output projection kInt4 with minima.
class BlockDraft {
 public:
  BlockDraft() {
    for (const ExpectedTensor& expected : ExpectedTensors(Config())) {
      tensors_.push_back(Zeros(expected.name, WeightFormat::kBF16, expected.shape));
    }
    MakeInteger(embedding, WeightFormat::kInt8);
    MakeInteger(up, WeightFormat::kInt4);
    MakeInteger(output, WeightFormat::kInt4);
    Add(MinimaOf(output), WeightFormat::kF16, {64, 2});
  }

  StoredTensor& Tensor(const std::string& name) {
    return *std::ranges::find(tensors_, name, &StoredTensor::name);
  }
  void Remove(const std::string& name) {
    std::erase_if(tensors_, [&](const StoredTensor& tensor) { return tensor.name == name; });
  }
  void Add(const std::string& name, WeightFormat dtype, std::vector<int64_t> shape) {
    tensors_.push_back(Zeros(name, dtype, std::move(shape)));
  }
  void MakeInteger(const std::string& name, WeightFormat dtype) {
    std::vector<int64_t> shape = Tensor(name).shape;
    Add(ScalesOf(name), WeightFormat::kF16, {shape[0], shape[1] / kernels::kWeightBlock});
    if (dtype == WeightFormat::kInt4) shape[1] /= 2;
    Tensor(name) = Zeros(name, dtype, shape);
  }

  absl::StatusOr<Checkpoint> Open() const {
    const testing::TempFolder folder;
    EXPECT_TRUE(testing::WriteFile(folder.path() / "config.json", testing::ConfigJson(Config())));
    EXPECT_TRUE(testing::WriteFile(folder.path() / "model.safetensors",
                                   testing::SafetensorsImage(tensors_)));
    return Checkpoint::Open(folder.path());
  }
  absl::Status Refused() const { return Open().status(); }

  std::string embedding = WeightOf(kEmbedTokens);
  std::string up = WeightOf(LayerModule(0, kUpProjection));
  std::string output = WeightOf(LayerModule(0, kOutputProjection));

 private:
  std::vector<StoredTensor> tensors_;
};

TEST(BlockTensorsTest, AreRead) {
  const BlockDraft draft;
  const auto checkpoint = draft.Open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->Tensor(draft.up).dtype, WeightFormat::kInt4);
  EXPECT_EQ(NumbersShape(checkpoint->Tensor(draft.up)), (std::vector<int64_t>{10, 64}));
  EXPECT_EQ(checkpoint->TensorIfPresent(MinimaOf(draft.up)), nullptr);
  EXPECT_NE(checkpoint->TensorIfPresent(MinimaOf(draft.output)), nullptr);
  int64_t numbers = 0;
  for (const ExpectedTensor& expected : ExpectedTensors(Config())) {
    int64_t of_this = 1;
    for (const int64_t extent : expected.shape) of_this *= extent;
    numbers += of_this;
  }
  EXPECT_EQ(checkpoint->NumParameters(), numbers);
}

TEST(BlockTensorsTest, ScalesMustBeThereAndFit) {
  BlockDraft draft;
  draft.Remove(ScalesOf(draft.up));
  ExpectRefusal(draft.Refused(), {"mlp.up_proj.weight_scales\" is missing; allowed: the scales"});

  draft = BlockDraft();
  draft.Tensor(ScalesOf(draft.up)) = Zeros(ScalesOf(draft.up), WeightFormat::kF16, {10, 4});
  ExpectRefusal(draft.Refused(), {"weight_scales\": shape is [10, 4]; allowed: [10, 2], a number"});

  draft = BlockDraft();
  draft.Tensor(ScalesOf(draft.up)) = Zeros(ScalesOf(draft.up), WeightFormat::kF32, {10, 2});
  ExpectRefusal(draft.Refused(), {"weight_scales\": dtype is F32; allowed: F16"});

  draft = BlockDraft();
  draft.Tensor(MinimaOf(draft.output)).shape = {2, 64};
  ExpectRefusal(draft.Refused(), {"weight_minima\": shape is [2, 64]; allowed: [64, 2]"});
}

TEST(BlockTensorsTest, ScalesAndMinimaMustBeFinite) {
  const BlockDraft names;
  for (const std::string& name : {ScalesOf(names.embedding), MinimaOf(names.output)}) {
    for (const char upper_byte : {'\x7C', '\xFD'}) {
      BlockDraft draft;
      draft.Tensor(name).bytes[7] = upper_byte;
      ExpectRefusal(draft.Refused(), {name + "\": number 3 is infinite or NaN"});
    }
  }
}

TEST(BlockTensorsTest, CodesMustFit) {
  BlockDraft draft;
  draft.Tensor(draft.up) = Zeros(draft.up, WeightFormat::kInt4, {10, 64});
  ExpectRefusal(draft.Refused(),
                {"mlp.up_proj.weight\": shape is [10, 64]; allowed: [10, 64] with two numbers"});
  draft = BlockDraft();
  draft.Tensor(draft.embedding) = Zeros(draft.embedding, WeightFormat::kInt8, {11, 32});
  ExpectRefusal(draft.Refused(), {"embed_tokens.weight\": shape is [11, 32]; allowed: [11, 64]"});
}

TEST(BlockTensorsTest, OnlyProductsAndEmbeddingsOfWholeBlocks) {
  BlockDraft draft;
  draft.MakeInteger(WeightOf(LayerModule(0, kDownProjection)), WeightFormat::kInt8);
  draft.Remove(ScalesOf(WeightOf(LayerModule(0, kDownProjection))));
  ExpectRefusal(draft.Refused(), {"down_proj.weight\": dtype is I8; allowed: F32, F16, BF16; rows "
                                  "of 10 are not whole blocks of 32"});
  draft = BlockDraft();
  draft.Tensor("model.norm.weight") = Zeros("model.norm.weight", WeightFormat::kInt8, {64});
  ExpectRefusal(draft.Refused(), {"model.norm.weight\": dtype is I8; allowed: F32, F16, BF16, and "
                                  "integers in products and embeddings alone"});
}

TEST(BlockTensorsTest, ScalesWithoutIntegersAreUnexpected) {
  BlockDraft draft;
  const std::string query = WeightOf(LayerModule(0, kQueryProjection));
  draft.Add(ScalesOf(query), WeightFormat::kF16, {64, 2});
  ExpectRefusal(draft.Refused(),
                {"q_proj.weight_scales\" is unexpected", "scales belong to weights of I8 or U8"});
  draft = BlockDraft();
  draft.Add(MinimaOf(draft.embedding), WeightFormat::kF16, {11, 2});
  ExpectRefusal(draft.Refused(), {"embed_tokens.weight_minima\" is unexpected"});
}

}  // namespace
}  // namespace fmaserver::model
