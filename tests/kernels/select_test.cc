// Selected tokens on every backend: what random layers and feeding (attention_test.cc) do not
// reach.
#include <algorithm>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/fma/element.h"
#include "tests/kernels/attention_fixture.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;

using SelectTest = AttentionTest;

TEST_P(SelectTest, ABf16CacheOfNumbersThatFitIsExact) {
  std::mt19937 random(1);
  kernels::AttentionSpec spec = Selector();
  spec.positions = kernels::PositionEmbedding::kNone;
  ReferenceAttention layer = RandomAttention(spec, random);
  layer.query_norm.clear();  // normed keys would not fit
  const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kBF16);
  const auto weights = PackFor(backend(), layer);
  auto qkv = RandomFloats(100 * spec.QkvColumns(), 1.0F, random);
  for (float& x : qkv) x = kernels::ToFloat(kernels::FromFloat<kernels::BFloat16>(x));
  const auto decoded = Feed(*weights, spec, layout, qkv, [] { return 1; });
  const auto expected = layer.Evaluate(qkv);
  ASSERT_EQ(decoded.size(), expected.size()) << "a choice is not clear: take another seed";
  for (size_t i = 0; i < decoded.size(); ++i) ASSERT_NEAR(decoded[i], expected[i], 2e-5) << i;
}

/// Also on CUDA: what tokens receive decides which are chosen, so no bit of it may depend on how a
/// sequence is cut.
TEST_P(SelectTest, EverySlicingLeavesTheSameBits) {
  std::mt19937 random(5);
  for (int round = 0; round < Rounds(30); ++round) {
    kernels::AttentionSpec spec = RandomSpec(random);
    while (!spec.Selects()) spec = RandomSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout(spec, 1, TypeOfRound(round));
    const auto weights = PackFor(backend(), layer);
    const int64_t n = std::min<int64_t>(2 * spec.hierarchy.Horizon() + 3, 150);
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    std::vector<float> decoded;
    std::vector<std::byte> state;
    for (const int64_t longest : {int64_t{1}, int64_t{9}, n}) {
      const auto slot = PoisonedSlot(layout);
      std::vector<float> out;
      for (int64_t position = 0; position < n;) {
        const int64_t rows = longest == n ? n : 1 + static_cast<int64_t>(random() % longest);
        const auto count = static_cast<int32_t>(std::min(rows, n - position));
        const auto part = Step(*weights, spec, {{slot.get(), position, count, &qkv}});
        out.insert(out.end(), part.begin(), part.end());
        position += count;
      }
      if (longest == 1) {
        decoded = out;
        state = BytesOf(*slot);
      }
      ASSERT_EQ(out, decoded);
      ASSERT_TRUE(BytesOf(*slot) == state);
    }
  }
}

/// Scores depend on distances alone, so a sequence attends alike at the start and shifted by whole
/// groups, whether keys keep their places, are turned back to seem distant, or are never turned.
TEST_P(SelectTest, TokensAreTurnedBackExactlyFarFromTheStart) {
  for (const int64_t distance : {0, 32, -1}) {
    std::mt19937 random(2);
    kernels::AttentionSpec spec = Selector();
    spec.hierarchy.num_levels = 2;
    spec.hierarchy.sink_tokens = 0;
    // What was received depends on all that was ever in view; novelty on the group alone.
    spec.select_novel = spec.hierarchy.rank;
    spec.max_distance = std::max<int64_t>(distance, 0);
    if (distance < 0) spec.far_positions = kernels::FarPositions::kNone;
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kF32);
    const auto weights = PackFor(backend(), layer);
    const int64_t columns = spec.QkvColumns();
    const int64_t n = 2 * spec.hierarchy.Horizon();
    const auto qkv = RandomFloats(n * columns, 1.0F, random);
    const auto near = Feed(*weights, spec, layout, qkv, [] { return 1; });
    const auto far = SlotOfZeros(layout);  // stands for the tokens before the shift
    for (int64_t i = 0; i < n; ++i) {
      const std::vector<kernels::Segment> segment = {{{far.get()}, 10'000'000 + i, 1}};
      const DeviceMatrix row(backend(), 1,
                             {qkv.begin() + i * columns, qkv.begin() + (i + 1) * columns});
      const DeviceMatrix out(backend(), 1, int64_t{spec.num_heads} * spec.head_dim);
      backend().BeginStep(spec, segment);
      backend().Attend(*weights, 0, row, out);
      ASSERT_TRUE(backend().EndStep().ok());
      const std::vector<float> shifted = out.Read();
      if (i < spec.hierarchy.Horizon()) continue;  // sees what was before
      for (size_t c = 0; c < shifted.size(); ++c) {
        ASSERT_NEAR(shifted[c], near[i * shifted.size() + c], 2e-5) << "row " << i;
      }
    }
  }
}

/// Saved states come from outside. Whatever their bytes say, nothing outside the slot is touched.
TEST_P(SelectTest, AnyBytesOfASlotAreSafe) {
  std::mt19937 random(3);
  kernels::AttentionSpec spec = Selector();
  spec.max_distance = 4 * spec.hierarchy.group_size;
  const ReferenceAttention layer = RandomAttention(spec, random);
  const auto weights = PackFor(backend(), layer);
  const auto qkv = RandomFloats(300 * spec.QkvColumns(), 1.0F, random);
  for (int round = 0; round < 20; ++round) {
    const kernels::SlotLayout layout(spec, 1, TypeOfRound(round));
    const auto slot = PoisonedSlot(layout);
    std::vector<std::byte> bytes(layout.slot_bytes);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    ASSERT_TRUE(backend().RestoreSlot(bytes, {slot.get()}).ok());
    Step(*weights, spec, {{slot.get(), 150 + round, 100, &qkv}});
  }
}

FMA_ON_EVERY_BACKEND(SelectTest);

class CudaSelectTest : public BackendTest {};

TEST_P(CudaSelectTest, SaysThatAListIsTooLong) {
  kernels::AttentionSpec spec = Selector();
  spec.hierarchy = {.group_size = 4000, .rank = 400, .num_levels = 2, .sink_tokens = 1};
  EXPECT_TRUE(backend().PackAttention(spec, {}).ok());
  spec.hierarchy.num_levels = 3;
  EXPECT_THAT(backend().PackAttention(spec, {}).status().message(),
              HasSubstr("= 10401 keys; allowed: up to 10000 on a CUDA device"));
}

FMA_ON_BACKENDS(CudaSelectTest, CudaBackendNames);

}  // namespace
}  // namespace fmaserver::testing
