// A cache of integers: how vectors are rounded, and that rounding goes no further.
// Everything that holds of any cache is tested where TypeOfRound() is used.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/fma/element.h"
#include "tests/kernels/attention_fixture.h"
#include "tests/kernels/backends.h"
#include "tests/kernels/random_attention.h"
#include "tests/kernels/rounded_vector.h"

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;

using Int8CacheTest = AttentionTest;
using Int8CacheOnCudaTest = AttentionTest;

float ScaleAt(const std::vector<std::byte>& bytes, int64_t offset, int64_t index) {
  kernels::BFloat16 scale;
  std::memcpy(&scale, &bytes[offset + index * int64_t{sizeof(scale)}], sizeof(scale));
  return kernels::ToFloat(scale);
}

kernels::AttentionSpec PlainSpec(int32_t head_dim) {
  kernels::AttentionSpec spec;
  spec.num_heads = spec.num_kv_heads = 1;
  spec.head_dim = head_dim;
  spec.hierarchy = {.group_size = 8, .rank = 2, .num_levels = 2};
  spec.downsampling = kernels::Downsampling::kAverage;
  spec.positions = kernels::PositionEmbedding::kNone;
  return spec;
}

TEST_P(Int8CacheTest, EveryVectorIsRoundedToItsOwnScale) {
  std::mt19937 random(1);
  for (const int32_t dim : {2, 6, 16, 34, 128}) {
    const kernels::AttentionSpec spec = PlainSpec(dim);
    const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kInt8);
    ReferenceAttention layer = RandomAttention(spec, random);
    layer.query_norm.clear();
    layer.key_norm.clear();
    const auto weights = PackFor(backend(), layer);
    auto qkv = RandomFloats(14 * spec.QkvColumns(), 3.0F, random);
    const auto vector = [&](int64_t row, int part) {
      return std::span(qkv).subspan(row * spec.QkvColumns() + part * dim, dim);
    };
    for (int64_t row = 0; row < 14; ++row) {
      for (const int part : {1, 2}) {
        const float factor = std::ldexp(1.0F, static_cast<int>(random() % 60) - 30);
        for (float& x : vector(row, part)) x *= factor;
      }
    }
    for (float& x : vector(1, 1)) x = 0;
    for (float& x : vector(2, 2)) x = 1e-38F;
    for (float& x : vector(3, 1)) x = std::numeric_limits<float>::max();
    vector(4, 2)[dim - 1] = INFINITY;
    vector(5, 1)[dim / 2] = -NAN;
    for (int64_t c = 0; c < dim; ++c) {  // ties, at scale 1
      vector(6, 1)[c] = c == 0 ? -127 : static_cast<float>(random() % 200) / 2 - 50;
    }
    const auto slot = PoisonedSlot(layout);
    Step(*weights, spec, {{slot.get(), 0, 14, &qkv}});
    const auto bytes = BytesOf(*slot);
    const auto* numbers = reinterpret_cast<const int8_t*>(bytes.data());
    for (int64_t row = 0; row < 14; ++row) {
      const int64_t column = layout.NearColumn(row);
      const RoundedVector key(vector(row, 1));
      const RoundedVector value(vector(row, 2));
      const float key_scale = ScaleAt(bytes, layout.scales_offset, column);
      const float value_scale = ScaleAt(bytes, layout.scales_offset, layout.columns + column);
      ASSERT_TRUE(key_scale == key.scale || (row == 5 && std::isnan(key_scale))) << row;
      ASSERT_TRUE(value_scale == value.scale || (row == 4 && std::isnan(value_scale))) << row;
      for (int64_t c = 0; c < dim; ++c) {
        ASSERT_EQ(numbers[layout.KeyIndex(column, c)], key.numbers[c]) << row << " " << c;
        ASSERT_EQ(numbers[layout.values_offset + column * layout.padded_dim + c], value.numbers[c])
            << row << " " << c;
      }
    }
  }
}

TEST_P(Int8CacheTest, StaysWithinItsRounding) {
  std::mt19937 random(2);
  for (int round = 0; round < Rounds(IsCuda() ? 18 : 60); ++round) {
    kernels::AttentionSpec spec = RandomSpec(random);
    while (spec.Selects()) spec = RandomSpec(random);  // rounding turns choices
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kInt8);
    const auto weights = PackFor(backend(), layer);
    const auto qkv = RandomFloats(150 * spec.QkvColumns(), 1.0F, random);
    const auto decoded = Feed(*weights, spec, layout, qkv, [] { return 1; });
    const auto expected = layer.Evaluate(qkv);
    ASSERT_EQ(decoded.size(), expected.size());
    // Numbers up to 4 or so are rounded to 127 steps, and the softmax averages them.
    for (size_t i = 0; i < decoded.size(); ++i) ASSERT_NEAR(decoded[i], expected[i], 0.1) << i;
  }
}

/// What is merged upward was never rounded, so errors do not add up from level to level.
TEST_P(Int8CacheTest, RunningSumsAreThoseOfAFloat32Cache) {
  std::mt19937 random(3);
  for (int round = 0; round < Rounds(IsCuda() ? 12 : 30); ++round) {
    kernels::AttentionSpec spec = RandomSpec(random);
    while (spec.Selects()) spec = RandomSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const auto weights = PackFor(backend(), layer);
    const auto rows = static_cast<int32_t>(spec.hierarchy.Horizon() + random() % 20);
    const auto qkv = RandomFloats(rows * spec.QkvColumns(), 1.0F, random);
    std::vector<std::vector<std::byte>> sums;
    for (const auto type : {kernels::CacheType::kF32, kernels::CacheType::kInt8}) {
      const kernels::SlotLayout layout(spec, 1, type);
      const auto slot = PoisonedSlot(layout);
      Step(*weights, spec, {{slot.get(), 0, rows, &qkv}});
      const auto bytes = BytesOf(*slot);
      sums.emplace_back();
      for (int32_t head = 0; head < spec.num_kv_heads; ++head) {
        const auto first = bytes.begin() + layout.HeadOffset(0, head) + layout.sums_offset;
        sums.back().insert(sums.back().end(), first,
                           first + 2 * layout.SumsPerKind() * int64_t{sizeof(float)});
      }
    }
    ASSERT_TRUE(sums[0] == sums[1]);
  }
}

/// Numbers of which every vector is whole multiples of 1/128 with 127/128 as the largest: nothing
/// is rounded.
std::vector<float> NumbersThatFit(int64_t rows, const kernels::AttentionSpec& spec,
                                  std::mt19937& random) {
  std::vector<float> numbers(static_cast<size_t>(rows * spec.QkvColumns()));
  for (size_t i = 0; i < numbers.size(); ++i) {
    const auto whole = static_cast<int>(random() % 255) - 127;
    numbers[i] = static_cast<float>(i % spec.head_dim == 0 ? 127 : whole) / 128.0F;
  }
  return numbers;
}

/// Choices and what they move, through the levels and, with `open_units`, an archive that is all
/// opened, so that no choice of units can turn.
TEST_P(Int8CacheTest, TokensThatFitAreExact) {
  for (const auto& [dim, open_units] : {std::pair(16, 0), {16, 30}, {18, 30}}) {
    std::mt19937 random(6);
    kernels::AttentionSpec spec = Selector();
    spec.head_dim = dim;
    spec.positions = kernels::PositionEmbedding::kNone;
    spec.open_units = open_units;
    spec.open_size = 4;
    ReferenceAttention layer = RandomAttention(spec, random);
    layer.query_norm.clear();  // normed keys would not fit
    layer.key_norm.clear();
    const auto weights = PackFor(backend(), layer);
    const auto qkv = NumbersThatFit(100, spec, random);
    const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kInt8);
    const auto decoded = Feed(*weights, spec, layout, qkv, [] { return 7; });
    const auto expected = layer.Evaluate(qkv);
    ASSERT_EQ(decoded.size(), expected.size()) << "a choice is not clear: take another seed";
    for (size_t i = 0; i < decoded.size(); ++i) ASSERT_NEAR(decoded[i], expected[i], 2e-5) << i;
  }
}

/// Rotated keys are rounded, turned back and rounded again.
TEST_P(Int8CacheTest, KeysThatAreTurnedBackStayWithinTheirRounding) {
  std::mt19937 random(4);
  kernels::AttentionSpec spec = Selector();
  spec.max_distance = 32;
  spec.select_novel = 0;
  spec.hierarchy.rank = 6;  // all that are no sinks
  spec.hierarchy.num_levels = 1;
  spec.open_units = 30;
  spec.open_size = 4;
  const ReferenceAttention layer = RandomAttention(spec, random);
  const auto weights = PackFor(backend(), layer);
  const auto qkv = RandomFloats(100 * spec.QkvColumns(), 1.0F, random);
  const kernels::SlotLayout exact(spec, 1, kernels::CacheType::kF32);
  const kernels::SlotLayout rounded(spec, 1, kernels::CacheType::kInt8);
  const auto expected = Feed(*weights, spec, exact, qkv, [] { return 5; });
  const auto found = Feed(*weights, spec, rounded, qkv, [] { return 5; });
  for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], 0.05) << i;
}

/// Whose integers are stored two at a time.
TEST_P(Int8CacheOnCudaTest, OddHeadsAreRefused) {
  const kernels::SlotLayout layout(PlainSpec(15), 1, kernels::CacheType::kInt8);
  const auto slots = backend().AllocateSlots(layout, 1);
  ASSERT_EQ(slots.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(slots.status().message(), HasSubstr("heads have 15 channels; allowed: an even"));
}

FMA_ON_EVERY_BACKEND(Int8CacheTest);
FMA_ON_BACKENDS(Int8CacheOnCudaTest, CudaBackendNames);

}  // namespace
}  // namespace fmaserver::testing
