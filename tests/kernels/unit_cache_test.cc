// Copies of units on the device change no bit, whatever they had to make room for.
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/attention/unit_cache.h"
#include "tests/kernels/attention_fixture.h"
#include "tests/kernels/backends.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {
namespace {

constexpr std::array<int32_t, 3> kCachedGroupSizes = {2, 4, 8};

class UnitCacheTest : public AttentionTest {
 protected:
  /// Room for so many units of every KV head, in sets of 32.
  void CacheUnits(const kernels::ArchiveLayout& layout, int64_t units) {
    const int64_t line = layout.UnitTokenBytes() + 32;
    const auto bytes = backend().CacheUnits(layout, layout.num_kv_heads * units * line + 64);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(*bytes > 0, units > 0);
  }

  struct Sequence {
    const kernels::SlotMemory* slot;
    TestArchive* archive;
    int64_t position = 0;
  };

  /// Feeds two sequences from wherever they are up to `end`, in steps of pieces that are decoded,
  /// read or guessed, as `seed` says. Returns all answers.
  std::vector<float> FeedBoth(const kernels::AttentionWeights& weights,
                              const kernels::AttentionSpec& spec, std::array<Sequence, 2>& both,
                              const std::vector<float>& qkv, int64_t end, int seed) {
    std::mt19937 random(seed);
    std::vector<float> out;
    while (both[0].position < end || both[1].position < end) {
      const bool guesses = random() % 4 == 0;
      std::vector<Part> parts;
      std::vector<int32_t> taken;
      for (Sequence& one : both) {
        const int64_t most = random() % 3 == 0 ? 2 * spec.hierarchy.group_size + 3 : 1;
        const auto rows = static_cast<int32_t>(
            std::min<int64_t>(1 + static_cast<int64_t>(random() % most), end - one.position));
        if (rows == 0) continue;
        parts.push_back({one.slot, one.position, rows, &qkv, guesses, one.archive});
        taken.push_back(guesses ? static_cast<int32_t>(random() % (rows + 1)) : rows);
      }
      const auto part = Step(weights, spec, parts);
      out.insert(out.end(), part.begin(), part.end());
      if (guesses) {
        EXPECT_TRUE(backend().Commit(taken).ok());
      }
      size_t i = 0;
      for (Sequence& one : both) {
        if (one.position < end) one.position += taken[i++];
      }
    }
    return out;
  }
};

/// Two sequences in a step, tokens that are guessed and taken back, and archives that are written
/// anew: with few lines, and without any.
TEST_P(UnitCacheTest, ChangesNoBit) {
  std::mt19937 random(1);
  for (int round = 0; round < Rounds(12); ++round) {
    kernels::AttentionSpec spec = RandomOpeningSpec(kCachedGroupSizes, random);
    if (round % 2 == 0) {  // units of whole pieces
      spec.head_dim = 16;
      spec.hierarchy.group_size = spec.open_size = 8;
      spec.hierarchy.rank = 4;
      spec.select_novel = 2;
      spec.max_distance = 0;
    }
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout = LayoutOfRound(spec, round);
    const auto weights = PackFor(backend(), layer);
    const int64_t n = 6 * spec.hierarchy.group_size;
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    const auto other = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    std::vector<float> expected;
    for (const int64_t units : {0, 32}) {
      CacheUnits(layout.Archive(spec), units);
      const auto slot = PoisonedSlot(layout);
      const auto fork = PoisonedSlot(layout);
      TestArchive archive(layout.Archive(spec));
      TestArchive forks(layout.Archive(spec));
      std::vector<float> out;
      for (const auto& text : {qkv, other}) {  // the second into the same archives
        std::array<Sequence, 2> both = {Sequence{slot.get(), &archive},
                                        Sequence{fork.get(), &forks}};
        const auto part = FeedBoth(*weights, spec, both, text, n, round);
        out.insert(out.end(), part.begin(), part.end());
      }
      if (units == 0) expected = out;
      ASSERT_TRUE(out == expected) << "with " << units << " lines";
    }
    const auto reads = backend().ReadsOfUnits();
    ASSERT_TRUE(reads.has_value());
    EXPECT_GT(reads->from_device, 0);
    EXPECT_GT(reads->from_host, 0);
  }
}

/// What a row opens is counted once, as found or as missing.
TEST_P(UnitCacheTest, CountsEveryUnitThatARowReads) {
  std::mt19937 random(2);
  kernels::AttentionSpec spec = Selector();
  spec.open_units = 6;
  spec.open_size = 4;
  const ReferenceAttention layer = RandomAttention(spec, random);
  const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kBF16);
  const auto weights = PackFor(backend(), layer);
  EXPECT_FALSE(backend().ReadsOfUnits().has_value());
  CacheUnits(layout.Archive(spec), 64);
  const auto qkv = RandomFloats(80 * spec.QkvColumns(), 1.0F, random);
  Feed(*weights, spec, layout, qkv, [] { return 5; });
  int64_t expected = 0;
  for (int64_t position = 0; position < 80; ++position) {
    const int64_t units = 2 * std::max<int64_t>(0, position / 8 - 1);
    expected += spec.num_kv_heads * std::min<int64_t>(6, units);
  }
  const auto reads = backend().ReadsOfUnits();
  EXPECT_EQ(reads->from_device + reads->from_host, expected);
  EXPECT_GE(reads->from_host, 2 * 16);  // all 16 units are opened while they are few
  EXPECT_GT(reads->from_device, expected / 2);
}

TEST_P(UnitCacheTest, IsNoneWhereASetDoesNotFit) {
  kernels::AttentionSpec spec = Selector();
  spec.open_units = 6;
  spec.open_size = 4;
  const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kBF16);
  EXPECT_EQ(*backend().CacheUnits(layout.Archive(spec), 1000), 0);
  EXPECT_FALSE(backend().ReadsOfUnits().has_value());
}

FMA_ON_BACKENDS(UnitCacheTest, CudaBackendNames);

TEST(UnitCacheOnTheCpuTest, IsNotNeeded) {
  const auto cpu = kernels::MakeCpuBackend(1);
  EXPECT_EQ(*(*cpu)->CacheUnits({}, 1 << 20), 0);
  EXPECT_FALSE((*cpu)->ReadsOfUnits().has_value());
}

using kernels::cuda::KeyOfUnit;
using kernels::cuda::SetOfUnit;
using kernels::cuda::UnitPlace;

TEST(UnitCacheKeysTest, NoTwoUnitsShareOne) {
  kernels::AttentionSpec spec = Selector();
  spec.open_units = 2;
  spec.open_size = 4;
  const kernels::ArchiveLayout layout(spec, 3, kernels::CacheType::kF32);
  std::vector<uint64_t> keys;
  for (uint64_t identity = 1; identity < 20; ++identity) {
    for (int32_t of_layer = 0; of_layer < 3; ++of_layer) {
      for (int32_t head = 0; head < spec.num_kv_heads; ++head) {
        for (int64_t unit = 6; unit < 8; ++unit) {
          keys.push_back(KeyOfUnit(layout, identity, of_layer, head, unit));
          EXPECT_LT(SetOfUnit(keys.back(), 3), 3);
        }
      }
    }
  }
  std::ranges::sort(keys);
  EXPECT_NE(keys.front(), 0);
  EXPECT_EQ(std::ranges::adjacent_find(keys), keys.end());
}

TEST(UnitCacheKeysTest, APlaceIsOneOfThree) {
  EXPECT_FALSE(UnitPlace::Host().IsCopied() || UnitPlace::Host().Fills());
  for (const int64_t line : {0, 1, 2'000'000'000}) {
    EXPECT_TRUE(UnitPlace::InLine(line).IsCopied() && !UnitPlace::InLine(line).Fills());
    EXPECT_TRUE(UnitPlace::ToLine(line).Fills() && !UnitPlace::ToLine(line).IsCopied());
    EXPECT_EQ(UnitPlace::InLine(line).Line(), line);
    EXPECT_EQ(UnitPlace::ToLine(line).Line(), line);
  }
}

}  // namespace
}  // namespace fmaserver::testing
