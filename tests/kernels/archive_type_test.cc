// Archives of smaller numbers than the slot beside them.
#include <array>
#include <cstring>
#include <random>
#include <span>
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

using kernels::BFloat16;
using kernels::CacheType;

/// One that archives keys in every form.
constexpr std::array<int32_t, 2> kArchivedGroupSizes = {8, 16};

class ArchiveTypeTest : public AttentionTest {
 protected:
  /// Feeds a sequence with an archive of type `type`, which is returned.
  TestArchive ArchiveOf(const kernels::AttentionWeights& weights,
                        const kernels::AttentionSpec& spec, CacheType slot_type, CacheType type,
                        const std::vector<float>& qkv, int64_t tokens) {
    const kernels::SlotLayout layout(spec, 1, slot_type, type);
    const auto slot = PoisonedSlot(layout);
    TestArchive archive(layout.Archive(spec));
    for (int64_t position = 0; position < tokens;) {
      const auto rows = static_cast<int32_t>(std::min<int64_t>(13, tokens - position));
      Step(weights, spec, {{slot.get(), position, rows, &qkv, false, &archive}});
      position += rows;
    }
    return archive;
  }
};

/// A unit's keys and values as rows of float32, of an archive without scales.
template <typename T>
std::vector<float> VectorsOf(const std::byte* unit, int64_t u, int64_t d) {
  std::vector<float> rows(static_cast<size_t>(2 * u * d));
  const auto number = [&](int64_t i) {
    T element;
    std::memcpy(&element, unit + i * int64_t{sizeof(T)}, sizeof(T));
    return kernels::ToFloat(element);
  };
  for (int64_t token = 0; token < u; ++token) {
    for (int64_t c = 0; c < d; ++c) {
      rows[token * d + c] = number(c * u + token);
      rows[(u + token) * d + c] = number(u * d + token * d + c);
    }
  }
  return rows;
}

template <typename T>
T At(const std::byte* from, int64_t index) {
  T element;
  std::memcpy(&element, from + index * int64_t{sizeof(T)}, sizeof(T));
  return element;
}

void ExpectInt8(const std::vector<float>& rows, const std::byte* unit, int64_t u, int64_t d) {
  for (int64_t row = 0; row < 2 * u; ++row) {
    const RoundedVector rounded{std::span(rows).subspan(row * d, d)};
    const auto scale = At<BFloat16>(unit + 2 * u * d, row);
    ASSERT_EQ(kernels::ToFloat(scale), rounded.scale) << row;
    for (int64_t c = 0; c < d; ++c) {
      const int64_t at = row < u ? c * u + row : u * d + (row - u) * d + c;
      ASSERT_EQ(At<int8_t>(unit, at), rounded.numbers[c]) << row << " " << c;
    }
  }
}

void ExpectBf16(const std::vector<float>& rows, const std::byte* unit, int64_t u, int64_t d) {
  for (int64_t row = 0; row < 2 * u; ++row) {
    for (int64_t c = 0; c < d; ++c) {
      const int64_t at = row < u ? c * u + row : u * d + (row - u) * d + c;
      ASSERT_EQ(At<BFloat16>(unit, at).bits, kernels::FromFloat<BFloat16>(rows[row * d + c]).bits)
          << row << " " << c;
    }
  }
}

/// What a slot's own type would keep is rounded once more; sketches stay what they are.
TEST_P(ArchiveTypeTest, RoundsWhatAnArchiveAsIsKeeps) {
  std::mt19937 random(1);
  for (int round = 0; round < Rounds(IsCuda() ? 6 : 24); ++round) {
    const kernels::AttentionSpec spec = RandomOpeningSpec(kArchivedGroupSizes, random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const auto weights = PackFor(backend(), layer);
    const int64_t tokens = 5 * spec.hierarchy.group_size;
    const auto qkv = RandomFloats(tokens * spec.QkvColumns(), 2.0F, random);
    const bool is_f32 = round % 3 != 0;
    const CacheType slot = is_f32 ? CacheType::kF32 : CacheType::kBF16;
    const CacheType type = round % 3 == 1 ? CacheType::kBF16 : CacheType::kInt8;
    const TestArchive exact = ArchiveOf(*weights, spec, slot, slot, qkv, tokens);
    const TestArchive less = ArchiveOf(*weights, spec, slot, type, qkv, tokens);
    ASSERT_EQ(exact.groups().size(), 4);
    for (size_t group = 0; group < 4; ++group) {
      std::vector<std::byte> sketches(exact.layout().SketchBytes());
      std::vector<std::byte> same(less.layout().SketchBytes());
      ASSERT_TRUE(backend().SaveSketches(*exact.groups()[group], sketches).ok());
      ASSERT_TRUE(backend().SaveSketches(*less.groups()[group], same).ok());
      ASSERT_TRUE(sketches == same) << group;
      const int64_t units = spec.num_kv_heads * exact.layout().UnitsPerGroup();
      for (int64_t i = 0; i < units; ++i) {
        const std::byte* from = exact.groups()[group]->tokens + i * exact.layout().UnitTokenBytes();
        const std::byte* unit = less.groups()[group]->tokens + i * less.layout().UnitTokenBytes();
        const int64_t u = spec.open_size;
        const int64_t d = spec.head_dim;
        const auto rows = is_f32 ? VectorsOf<float>(from, u, d) : VectorsOf<BFloat16>(from, u, d);
        type == CacheType::kInt8 ? ExpectInt8(rows, unit, u, d) : ExpectBf16(rows, unit, u, d);
      }
    }
  }
}

/// Without choices that rounding could turn: the units are those of the same sketches, and all
/// tokens go on from level to level.
TEST_P(ArchiveTypeTest, AnswersStayWithinItsRounding) {
  std::mt19937 random(2);
  for (const int64_t max_distance : {0, 32}) {
    kernels::AttentionSpec spec = Selector();
    spec.max_distance = max_distance;
    spec.select_novel = 0;
    spec.hierarchy.sink_tokens = 0;
    spec.hierarchy.rank = spec.hierarchy.group_size;
    spec.hierarchy.num_levels = 1;
    spec.open_units = 3;
    spec.open_size = 4;
    const ReferenceAttention layer = RandomAttention(spec, random);
    const auto weights = PackFor(backend(), layer);
    const auto qkv = RandomFloats((IsCuda() ? 56 : 120) * spec.QkvColumns(), 1.0F, random);
    const kernels::SlotLayout exact(spec, 1, CacheType::kF32);
    const auto expected = Feed(*weights, spec, exact, qkv, [] { return 5; });
    for (const auto& [type, bound] :
         {std::pair(CacheType::kBF16, 0.01F), {CacheType::kInt8, 0.03F}}) {
      const kernels::SlotLayout layout(spec, 1, CacheType::kF32, type);
      const auto found = Feed(*weights, spec, layout, qkv, [] { return 5; });
      float largest = 0;
      for (size_t i = 0; i < found.size(); ++i) {
        largest = std::max(largest, std::abs(found[i] - expected[i]));
      }
      EXPECT_LE(largest, bound);
      EXPECT_GT(largest, 0) << "nothing was rounded";
    }
  }
}

FMA_ON_EVERY_BACKEND(ArchiveTypeTest);

class ArchiveTypeOnCudaTest : public BackendTest {};

TEST_P(ArchiveTypeOnCudaTest, OddHeadsHaveNoIntegers) {
  kernels::AttentionSpec spec = Selector();
  spec.head_dim = 15;
  spec.positions = kernels::PositionEmbedding::kNone;
  spec.open_units = 2;
  spec.open_size = 4;
  const kernels::SlotLayout layout(spec, 1, CacheType::kF32, CacheType::kInt8);
  std::vector<std::byte> tokens(layout.Archive(spec).TokenBytes());
  const auto group = backend().MakeGroup(layout.Archive(spec), tokens);
  ASSERT_EQ(group.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(group.status().message(), ::testing::HasSubstr("heads have 15 channels"));
}

FMA_ON_BACKENDS(ArchiveTypeOnCudaTest, CudaBackendNames);

}  // namespace
}  // namespace fmaserver::testing
