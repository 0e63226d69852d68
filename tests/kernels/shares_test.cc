// What is told of how rows divide their attention, against the definition.
#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/fma/attention_parts.h"
#include "tests/kernels/attention_fixture.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {
namespace {

constexpr std::array<int32_t, 6> kGroups = {1, 2, 4, 6, 8, 12};

class SharesTest : public AttentionTest {
 protected:
  /// Of every third round with opened units.
  kernels::AttentionSpec Draw(int round, std::mt19937& random) const {
    return round % 3 == 2 ? RandomOpeningSpec(kGroups, random) : RandomSpec(random);
  }

  /// Tokens enough to see every level, and past the horizon.
  static int64_t Enough(const kernels::AttentionSpec& spec) {
    return std::clamp<int64_t>(spec.hierarchy.Horizon() + 4 * spec.hierarchy.group_size, 20, 120);
  }
};

/// Decode rows, slices and tentative slices, of the second of two layers.
TEST_P(SharesTest, AreThoseOfTheDefinition) {
  std::mt19937 random(1);
  int64_t compared = 0;
  std::vector<double> seen(8);  // by part, all levels together; the last: opened units
  for (int round = 0; round < Rounds(90); ++round) {
    const kernels::AttentionSpec spec = Draw(round, random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout(spec, 2, kernels::CacheType::kF32);
    const auto weights = PackFor(backend(), layer);
    const int64_t n = Enough(spec);
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    const std::vector<double> expected = layer.EvaluateRows(qkv).shares;
    const kernels::AttentionParts parts(spec.hierarchy);
    const int64_t columns = int64_t{spec.num_kv_heads} * parts.Count();
    const auto slot = PoisonedSlot(layout);
    TestArchive archive({spec, 2, layout.type});
    TestArchive* const opens = spec.Opens() ? &archive : nullptr;
    for (int64_t position = 0; position < n;) {
      const auto rows = static_cast<int32_t>(
          std::min<int64_t>(n - position, random() % 3 == 0 ? 1 + random() % 30 : 1));
      const bool tentative = random() % 4 == 0;
      std::vector<float> shares(2 * columns);
      Step(*weights, spec, {{slot.get(), position, rows, &qkv, tentative, opens, {}, shares}}, 1);
      ASSERT_TRUE(!tentative || backend().Commit(std::vector<int32_t>{rows}).ok());
      position += rows;
      if (position * columns > std::ssize(expected)) break;  // rounding could have turned a choice
      for (int64_t i = 0; i < columns; ++i) {
        ASSERT_EQ(shares[i], 0) << "of another layer";
        ASSERT_NEAR(shares[columns + i], expected[(position - 1) * columns + i], 2e-5)
            << "part " << i % parts.Count() << " after " << position << " tokens, " << rows
            << " at once, tentative " << tentative;
        const int64_t part = i % parts.Count();
        seen[part == parts.OpenedUnits() ? 7 : std::min<int64_t>(part, 2)] += shares[columns + i];
      }
      ASSERT_NEAR(std::accumulate(shares.begin(), shares.end(), 0.0F), spec.num_heads, 1e-4);
      ++compared;
    }
  }
  EXPECT_GE(compared, Rounds(90) * 10);
  for (const int part : {0, 1, 2, 7}) EXPECT_GT(seen[part], Rounds(90) / 5) << part;
}

/// Of rows in bfloat16, up to its rounding.
TEST_P(SharesTest, OfABf16CacheAreNearlyThose) {
  std::mt19937 random(2);
  for (int round = 0; round < Rounds(20); ++round) {
    kernels::AttentionSpec spec = RandomSpec(random);
    while (spec.Selects()) spec = RandomSpec(random);  // rounding turns choices
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const auto weights = PackFor(backend(), layer);
    const auto slot = PoisonedSlot({spec, 1, kernels::CacheType::kBF16});
    const auto qkv = RandomFloats(60 * spec.QkvColumns(), 1.0F, random);
    const std::vector<double> expected = layer.EvaluateRows(qkv).shares;
    const int64_t columns =
        int64_t{spec.num_kv_heads} * kernels::AttentionParts(spec.hierarchy).Count();
    for (int64_t position = 0; position < 60;) {
      const auto rows = static_cast<int32_t>(std::min<int64_t>(60 - position, 1 + random() % 9));
      std::vector<float> shares(columns);
      Step(*weights, spec, {{slot.get(), position, rows, &qkv, false, nullptr, {}, shares}});
      position += rows;
      for (int64_t i = 0; i < columns; ++i) {
        ASSERT_NEAR(shares[i], expected[(position - 1) * columns + i], 0.03);
      }
    }
  }
}

/// Whoever else is in a step, and whether they ask or not.
TEST_P(SharesTest, AreTheSameBitsAmongNeighboursAndAskingChangesNoOutput) {
  std::mt19937 random(3);
  for (int round = 0; round < Rounds(30); ++round) {
    const kernels::AttentionSpec spec = Draw(round, random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kF32);
    const auto weights = PackFor(backend(), layer);
    const int64_t n = Enough(spec);
    const int64_t columns =
        int64_t{spec.num_kv_heads} * kernels::AttentionParts(spec.hierarchy).Count();
    const int64_t values = int64_t{spec.num_heads} * spec.head_dim;
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    const auto silent = PoisonedSlot(layout);
    const auto alone = PoisonedSlot(layout);
    const auto among = PoisonedSlot(layout);
    const kernels::ArchiveLayout archived(spec, 1, layout.type);
    std::array<TestArchive, 3> archives = {TestArchive(archived), TestArchive(archived),
                                           TestArchive(archived)};
    const auto archive = [&](int i) { return spec.Opens() ? &archives[i] : nullptr; };
    for (int64_t position = 0; position < n;) {
      const auto rows = static_cast<int32_t>(
          std::min<int64_t>(n - position, random() % 2 == 0 ? 1 + random() % 9 : 1));
      std::vector<float> expected(columns);
      std::vector<float> shares(columns);
      const auto solo = Step(
          *weights, spec, {{alone.get(), position, rows, &qkv, false, archive(1), {}, expected}});
      const auto both = Step(*weights, spec,
                             {{silent.get(), position, rows, &qkv, false, archive(0)},
                              {among.get(), position, rows, &qkv, false, archive(2), {}, shares}});
      ASSERT_EQ(shares, expected) << "at " << position;
      const std::span<const float> all(both);
      const auto size = static_cast<size_t>(rows * values);
      ExpectSameRows(all.first(size), all.last(size), 0);
      ExpectSameRows(all.first(size), solo, 0);
      position += rows;
    }
  }
}

FMA_ON_EVERY_BACKEND(SharesTest);

}  // namespace
}  // namespace fmaserver::testing
