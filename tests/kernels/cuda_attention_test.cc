// The CUDA attention under the block emulator, in shapes that are too large for the suite of all
// backends (attention_test.cc).
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/attention/choose_units_kernel.h"
#include "kernels/cuda/runtime/launch.h"
#include "tests/kernels/cuda_layer.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {
namespace {

double LargestDifference(const std::vector<float>& a, const std::vector<double>& b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    if (!(difference <= largest)) largest = difference;  // keeps NaN
  }
  return largest;
}

/// Feeds `tokens` tokens in slices of up to `chunk`, with decode steps between them.
void ExpectTheDefinition(const kernels::AttentionSpec& spec, int64_t tokens, int chunk) {
  SCOPED_TRACE(Describe(spec));
  std::mt19937 random(tokens);
  const ReferenceAttention layer = RandomAttention(spec, random);
  const auto qkv = RandomFloats(tokens * spec.QkvColumns(), 1.0F, random);
  const auto expected = layer.Evaluate(qkv);
  for (const kernels::CacheType type : {kernels::CacheType::kF32, kernels::CacheType::kBF16}) {
    CudaLayer device(layer, type);
    const auto out = device.Feed(qkv, [&] { return random() % 3 == 0 ? 1 : 1 + random() % chunk; });
    ASSERT_LE(LargestDifference(out, expected), type == kernels::CacheType::kF32 ? 1e-4 : 0.05);
  }
}

/// With selected tokens; in float32 alone, because keys that are rounded to bfloat16 may let others
/// be chosen than the definition does.
void ExpectTheChosen(const kernels::AttentionSpec& spec, int64_t tokens, int chunk) {
  SCOPED_TRACE(Describe(spec));
  const auto size = static_cast<size_t>(tokens * spec.num_heads * spec.head_dim);
  std::mt19937 random(tokens);
  for (int attempt = 0; attempt < 20; ++attempt) {
    const ReferenceAttention layer = RandomAttention(spec, random);
    const auto qkv = RandomFloats(tokens * spec.QkvColumns(), 1.0F, random);
    const auto expected = layer.Evaluate(qkv);
    if (expected.size() < size) continue;  // rounding could turn a choice
    CudaLayer device(layer, kernels::CacheType::kF32);
    const auto out = device.Feed(qkv, [&] { return random() % 3 == 0 ? 1 : 1 + random() % chunk; });
    ASSERT_LE(LargestDifference(out, expected), 1e-4);
    return;
  }
  FAIL() << "no case in which every choice is clear";
}

kernels::AttentionSpec Shape(int heads, int kv_heads, int head_dim,
                             const kernels::Hierarchy& hierarchy) {
  kernels::AttentionSpec spec;
  spec.num_heads = heads;
  spec.num_kv_heads = kv_heads;
  spec.head_dim = head_dim;
  spec.hierarchy = hierarchy;
  return spec;
}

TEST(CudaAttentionTest, GroupsLongerThanABlockOfQueries) {
  kernels::AttentionSpec spec = Shape(2, 1, 16, {96, 4, 2, 5});
  spec.padding = kernels::Padding::kZeroKeys;
  ExpectTheDefinition(spec, 420, 230);
}

TEST(CudaAttentionTest, MoreQueryHeadsThanAPassTakes) {
  kernels::AttentionSpec spec = Shape(11, 1, 24, {8, 2, 3, 3});
  spec.far_positions = kernels::FarPositions::kNone;
  ExpectTheDefinition(spec, 90, 30);
}

TEST(CudaAttentionTest, WideHeads) {
  for (const int dim : {80, 128, 144, 320, 640}) {
    kernels::AttentionSpec spec = Shape(3, 1, dim, {8, 4, 2, 2});
    spec.level_bias = true;
    spec.scale_far_field = true;
    ExpectTheDefinition(spec, 45, 20);
  }
}

TEST(CudaAttentionTest, OddHeads) {
  kernels::AttentionSpec spec = Shape(2, 2, 37, {6, 3, 3, 0});
  spec.positions = kernels::PositionEmbedding::kNone;
  spec.downsampling = kernels::Downsampling::kConv;
  ExpectTheDefinition(spec, 60, 25);
}

TEST(CudaAttentionTest, ManyLevelsCloseAtOnce) {
  kernels::AttentionSpec spec = Shape(1, 1, 4, {2, 2, 9, 0});
  ExpectTheDefinition(spec, 600, 500);
}

kernels::AttentionSpec Selector(int heads, int kv_heads, int head_dim,
                                const kernels::Hierarchy& hierarchy) {
  kernels::AttentionSpec spec = Shape(heads, kv_heads, head_dim, hierarchy);
  spec.downsampling = kernels::Downsampling::kSelect;
  spec.far_positions = kernels::FarPositions::kOwn;
  spec.select_lag = hierarchy.group_size / 4;
  spec.select_novel = hierarchy.rank / 2;
  return spec;
}

TEST(CudaAttentionTest, SelectedTokensOfGroupsLongerThanABlockOfRows) {
  ExpectTheChosen(Selector(3, 1, 16, {96, 10, 2, 5}), 420, 230);
}

TEST(CudaAttentionTest, SelectedTokensOfMoreQueryHeadsThanAPassTakes) {
  kernels::AttentionSpec spec = Selector(11, 1, 24, {8, 2, 3, 3});
  spec.level_bias = true;
  ExpectTheChosen(spec, 90, 30);
}

TEST(CudaAttentionTest, SelectedTokensOfWideAndOddHeads) {
  ExpectTheChosen(Selector(2, 1, 128, {8, 3, 2, 2}), 60, 20);
  kernels::AttentionSpec spec = Selector(2, 2, 37, {6, 4, 3, 0});
  spec.positions = kernels::PositionEmbedding::kNone;
  ExpectTheChosen(spec, 70, 25);
}

TEST(CudaAttentionTest, SinksAndLevelsThatSeemDistant) {
  kernels::AttentionSpec spec = Selector(2, 1, 16, {8, 3, 4, 3});
  for (const int64_t distance : {32, 70, 128, 300}) {
    spec.max_distance = distance;
    ExpectTheChosen(spec, 250, 90);
  }
  spec = Shape(2, 1, 16, {8, 2, 4, 3});
  spec.level_bias = true;
  for (const int64_t distance : {32, 70, 128, 300}) {
    spec.max_distance = distance;
    ExpectTheDefinition(spec, 250, 90);
  }
}

/// With opened units, as far as every choice is clear.
void ExpectTheOpened(const kernels::AttentionSpec& spec, int64_t tokens, int chunk) {
  SCOPED_TRACE(Describe(spec));
  std::mt19937 random(tokens);
  const ReferenceAttention layer = RandomAttention(spec, random);
  const auto qkv = RandomFloats(tokens * spec.QkvColumns(), 1.0F, random);
  const auto expected = layer.Evaluate(qkv);
  EXPECT_GE(std::ssize(expected), tokens * spec.num_heads * spec.head_dim / 2) << "take another";
  CudaLayer device(layer, kernels::CacheType::kF32);
  auto out = device.Feed(qkv, [&] { return random() % 3 == 0 ? 1 : 1 + random() % chunk; });
  out.resize(expected.size());
  ASSERT_LE(LargestDifference(out, expected), 1e-4);
}

TEST(CudaAttentionTest, OpenedUnitsOfGroupsLongerThanABlockOfRows) {
  kernels::AttentionSpec spec = Selector(3, 1, 16, {96, 10, 2, 5});
  spec.open_units = 3;
  ExpectTheOpened(spec, 420, 230);
}

TEST(CudaAttentionTest, OpenedUnitsOfMoreQueryHeadsThanAPassTakes) {
  kernels::AttentionSpec spec = Selector(11, 1, 24, {8, 2, 3, 3});
  spec.level_bias = true;
  spec.open_units = 4;
  spec.open_size = 4;
  ExpectTheOpened(spec, 80, 30);
}

TEST(CudaAttentionTest, OpenedUnitsOfWideAndOddHeads) {
  kernels::AttentionSpec spec = Selector(5, 1, 128, {16, 3, 2, 2});
  spec.open_units = 2;
  spec.open_size = 16;
  spec.max_distance = 64;
  ExpectTheOpened(spec, 130, 40);
  spec = Selector(2, 2, 37, {6, 4, 3, 0});
  spec.positions = kernels::PositionEmbedding::kNone;
  spec.open_units = 3;
  spec.open_size = 3;
  ExpectTheOpened(spec, 70, 25);
}

/// What the kernel that chooses units lists; the first unit is of sinks only.
std::vector<int32_t> Choose(const kernels::AttentionSpec& spec, int64_t groups,
                            const std::vector<float>& scores) {
  const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kF32);
  const auto units = static_cast<int64_t>(scores.size());
  const kernels::cuda::OpenScratch at(spec, layout, units);
  const auto stream = *kernels::cuda::Stream::Create();
  const auto notes =
      *kernels::cuda::Memory::Allocate(kernels::cuda::Memory::Kind::kDevice, at.bytes);
  const auto rows = *kernels::cuda::Memory::Allocate(kernels::cuda::Memory::Kind::kDevice,
                                                     sizeof(kernels::cuda::DecodeRow));
  const kernels::cuda::DecodeRow row = {
      .slot = notes.data(), .position = (groups + 1) * spec.hierarchy.group_size, .archive = 0};
  EXPECT_TRUE(stream->CopyToDevice(notes.data(), scores.data(), units * sizeof(float)).ok());
  EXPECT_TRUE(stream->CopyToDevice(rows.data(), &row, sizeof(row)).ok());
  kernels::cuda::OpenParameters parameters;
  parameters.attention.spec = spec;
  parameters.layout = layout;
  parameters.rows = rows.As<kernels::cuda::DecodeRow>();
  parameters.notes = notes.data();
  parameters.at = at;
  using Kernel = kernels::cuda::ChooseUnitsKernel;
  EXPECT_TRUE(kernels::cuda::Launch(*stream,
                                    {.blocks_x = 1, .shared_bytes = Kernel::SharedMemory()},
                                    Kernel{parameters})
                  .ok());
  std::vector<int32_t> list(std::min<int64_t>(units, spec.open_units));
  EXPECT_TRUE(stream->CopyToHost(list.data(), notes.data() + at.list_offset, list.size() * 4).ok());
  EXPECT_TRUE(stream->Synchronize().ok());
  return list;
}

/// Many equal scores, both zeros, and what a damaged sketch may give.
TEST(CudaAttentionTest, TheBestUnitsAreListedInOrder) {
  std::mt19937 random(1);
  const std::array kScores = {-INFINITY, -1.0F, -0.0F, 0.0F, 1e-30F, 2.0F, 2.5F, INFINITY};
  kernels::AttentionSpec spec = Selector(2, 1, 16, {4, 1, 1, 3});
  spec.open_size = 2;
  for (const int64_t groups : {1, 5, 300, 700}) {
    for (const int wanted : {1, 7, 256, 1000}) {
      SCOPED_TRACE(::testing::Message() << wanted << " of " << groups << " groups");
      spec.open_units = wanted;
      std::vector<float> scores(2 * groups - 1);
      for (float& score : scores) score = kScores[random() % kScores.size()];
      std::vector<int32_t> expected(scores.size());
      std::iota(expected.begin(), expected.end(), 0);
      std::ranges::stable_sort(expected, std::ranges::greater(), [&](int i) { return scores[i]; });
      expected.resize(std::min<size_t>(expected.size(), wanted));
      std::ranges::sort(expected);
      for (int32_t& unit : expected) ++unit;
      EXPECT_EQ(Choose(spec, groups, scores), expected);
    }
  }
}

}  // namespace
}  // namespace fmaserver::testing
