// What --weights makes of a checkpoint's weights.
#include "server/engine/model_weights.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/host/rounding.h"
#include "model_loader/expected_tensors.h"
#include "server/engine/model.h"
#include "server/engine/slot_pool.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using engine::WeightType;
using kernels::WeightFormat;

model::Checkpoint MakeCheckpoint(WeightFormat format) {
  const TempFolder folder;
  EXPECT_TRUE(WriteRandomCheckpoint(SmallConfig(), 5, format, folder.path()).ok());
  return *model::Checkpoint::Open(folder.path());
}

/// Logits of a short text, fed in pieces of `chunk` tokens.
std::vector<float> Logits(const model::Checkpoint& checkpoint, WeightType type, size_t chunk) {
  auto model = engine::Model::Load(checkpoint, *kernels::MakeCpuBackend(2), {.weights = type});
  EXPECT_TRUE(model.ok()) << model.status();
  const auto pool = engine::SlotPool::Create((*model)->backend(), (*model)->layout(), 1);
  const engine::Slot slot = (*pool)->Acquire();
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 50; ++i) tokens.push_back(i * 7 % checkpoint.config().vocab_size);
  std::vector<float> all;
  for (size_t position = 0; position < tokens.size(); position += chunk) {
    const auto part =
        std::span(tokens).subspan(position, std::min(chunk, tokens.size() - position));
    const engine::StepSegment segment{slot.handle(), static_cast<int64_t>(position), part,
                                      static_cast<int32_t>(part.size())};
    const auto logits = (*model)->Step({&segment, 1});
    EXPECT_TRUE(logits.ok()) << logits.status();
    all.insert(all.end(), logits->begin(), logits->end());
  }
  return all;
}

TEST(ModelWeightsTest, HowTokensAreFedChangesNoBit) {
  const model::Checkpoint checkpoint = MakeCheckpoint(WeightFormat::kF32);
  for (const WeightType type : {WeightType::kBF16, WeightType::kInt8, WeightType::kInt4}) {
    const std::vector<float> one = Logits(checkpoint, type, 1);
    for (const size_t chunk : {3, 7, 50}) EXPECT_EQ(Logits(checkpoint, type, chunk), one);
    EXPECT_NE(one, Logits(checkpoint, WeightType::kAsStored, 1));
  }
}

TEST(ModelWeightsTest, BF16ChangesNothingOfABF16Checkpoint) {
  const model::Checkpoint wide = MakeCheckpoint(WeightFormat::kF32);
  const model::Checkpoint narrow = MakeCheckpoint(WeightFormat::kBF16);
  EXPECT_TRUE(engine::Rounds(wide, WeightType::kBF16));
  EXPECT_FALSE(engine::Rounds(narrow, WeightType::kBF16));
  EXPECT_EQ(Logits(narrow, WeightType::kBF16, 50), Logits(narrow, WeightType::kAsStored, 50));
}

TEST(ModelWeightsTest, BytesAreThoseOfTheFormats) {
  const model::Checkpoint checkpoint = MakeCheckpoint(WeightFormat::kBF16);
  const int64_t stored = checkpoint.WeightBytes();
  EXPECT_EQ(engine::LoadedBytes(checkpoint, WeightType::kAsStored), stored);
  EXPECT_EQ(engine::LoadedBytes(checkpoint, WeightType::kBF16), stored);
  EXPECT_FALSE(engine::Rounds(checkpoint, WeightType::kAsStored));
  EXPECT_TRUE(engine::Rounds(checkpoint, WeightType::kInt4));
  const int64_t int8 = engine::LoadedBytes(checkpoint, WeightType::kInt8);
  const int64_t int4 = engine::LoadedBytes(checkpoint, WeightType::kInt4);
  EXPECT_LT(int8, stored);
  EXPECT_LT(int4, int8);
  int64_t products = 0;  // blocks of all but the embedding, which keeps 8 bits
  for (const model::ExpectedTensor& tensor : model::ExpectedTensors(checkpoint.config())) {
    const bool is_product = tensor.may_be_in_blocks && tensor.name != "model.embed_tokens.weight" &&
                            tensor.name != "lm_head.weight";
    if (is_product) products += tensor.shape[0] * kernels::BlocksOfRow(tensor.shape[1]);
  }
  EXPECT_EQ(int8 - int4, products * kernels::kWeightBlock / 2);
}

TEST(ModelWeightsTest, ProgressCountsEveryByteOfTheCheckpointOnce) {
  const model::Checkpoint checkpoint = MakeCheckpoint(WeightFormat::kBF16);
  for (const WeightType type : {WeightType::kAsStored, WeightType::kInt4}) {
    const auto backend = *kernels::MakeCpuBackend(2);
    std::vector<int64_t> loaded;
    const auto weights = engine::LoadWeights(checkpoint, type, *backend,
                                             [&](int64_t bytes) { loaded.push_back(bytes); });
    ASSERT_TRUE(weights.ok()) << weights.status();
    EXPECT_GT(loaded.front(), 0);
    EXPECT_GT(loaded.size(), 5 * weights->layers.size());
    EXPECT_EQ(std::ranges::adjacent_find(loaded, std::greater_equal()), loaded.end());
    EXPECT_EQ(loaded.back(), checkpoint.WeightBytes());
  }
}

}  // namespace
}  // namespace fmaserver::testing
