// Visibility: the levels tile the past, and a slot keeps what will be seen.
#include "kernels/fma/levels.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/fma/archive_layout.h"
#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels {
namespace {

constexpr Hierarchy kSmall{4, 2, 3, 0};

static_assert(kSmall.GroupTokens(1) == 4 && kSmall.GroupTokens(3) == 16);
static_assert(kSmall.Horizon() == 64);
static_assert(Hierarchy::FarGroups(1, 5).first == 2 && Hierarchy::FarGroups(1, 5).end == 4);
static_assert(Hierarchy::FarGroups(1, 4).first == 2 && Hierarchy::FarGroups(1, 4).end == 3);
static_assert(Hierarchy::FarGroups(1, 1).Missing() == 2);
static_assert(Hierarchy::FarGroups(1, 0).Missing() == 1);
static_assert(Hierarchy::FarGroups(1, 3).Missing() == 0);

TEST(Levels, TileThePastWithoutGapOrOverlap) {
  for (int64_t t = 0; t < 3 * kSmall.Horizon(); ++t) {
    const int64_t fine = kSmall.FineGroup(t);
    std::multiset<int64_t> seen;
    for (int64_t s = std::max<int64_t>(0, (fine - 1) * 4); s <= t; ++s) seen.insert(s);
    for (int level = 1; level <= kSmall.num_levels; ++level) {
      const GroupRange groups = Hierarchy::FarGroups(level, fine).Existing();
      for (int64_t g = groups.first; g < groups.end; ++g) {
        for (int64_t i = 0; i < kSmall.GroupTokens(level); ++i) {
          seen.insert(g * kSmall.GroupTokens(level) + i);
        }
      }
    }
    // What is seen has no gap: it is a run that ends at t, and begins at the start while t is
    // inside the horizon.
    ASSERT_EQ(*seen.rbegin(), t);
    ASSERT_EQ(static_cast<int64_t>(seen.size()), t - *seen.begin() + 1) << "at " << t;
    ASSERT_EQ(std::set<int64_t>(seen.begin(), seen.end()).size(), seen.size()) << "at " << t;
    if (t < kSmall.Horizon()) {
      ASSERT_EQ(*seen.begin(), 0) << "at " << t;
    }
  }
}

static_assert(Hierarchy::FarGroupsAfter(1, 4).first == 6 &&
              Hierarchy::FarGroupsAfter(1, 4).end == 8);
static_assert(Hierarchy::FarGroupsAfter(1, 5).first == 7 &&
              Hierarchy::FarGroupsAfter(1, 5).end == 8);
static_assert(Hierarchy::NearGroups(0, 1).first == 0 && Hierarchy::NearGroups(0, 1).end == 1);
static_assert(Hierarchy::NearGroups(4, 9).first == 3 && Hierarchy::NearGroups(4, 9).end == 6);
static_assert(kSmall.GroupsWithTokens(2, 16) == 2 && kSmall.GroupsWithTokens(2, 17) == 3);
static_assert(kSmall.VisibleLevels(8) == 0 && kSmall.VisibleLevels(9) == 1);
static_assert(kSmall.VisibleLevels(16) == 1 && kSmall.VisibleLevels(17) == 2);
static_assert(kSmall.VisibleLevels(32) == 2 && kSmall.VisibleLevels(1000) == 3);

/// How often a query of an encoder sees each of so many tokens, in groups that may lack some.
std::vector<int> TimesSeen(int64_t t, int64_t length) {
  std::vector<int> times(static_cast<size_t>(length));
  const auto see = [&](GroupRange groups, int64_t width) {
    for (int64_t s = groups.first * width; s < std::min(groups.end * width, length); ++s)
      ++times[s];
  };
  const int64_t fine = kSmall.FineGroup(t);
  see(Hierarchy::NearGroups(fine, kSmall.GroupsWithTokens(1, length)), 4);
  for (int level = 1; level <= kSmall.VisibleLevels(length); ++level) {
    const int64_t groups = kSmall.GroupsWithTokens(level, length);
    see(Hierarchy::FarGroups(level, fine).Existing().Below(groups), kSmall.GroupTokens(level));
    see(Hierarchy::FarGroupsAfter(level, fine).Below(groups), kSmall.GroupTokens(level));
  }
  return times;
}

TEST(Levels, OfEncodersTileBothSides) {
  for (const int64_t length : {1, 4, 9, 31, 33, 50, 63, 64, 65, 100, 200}) {
    for (int64_t t = 0; t < length; ++t) {
      const std::vector<int> times = TimesSeen(t, length);
      for (int64_t s = 0; s < length; ++s) {
        // The top level's groups have 16 tokens: its list reaches over the parents' neighbours.
        const bool in_view = std::abs(s / 32 - t / 32) <= 1;
        ASSERT_EQ(times[s], in_view ? 1 : 0) << s << " by " << t << " of " << length;
        if (length <= kSmall.Horizon()) {
          ASSERT_TRUE(in_view);
        }
      }
    }
  }
}

TEST(Levels, SharesNest) {
  for (int64_t t = 0; t < 100; ++t) {
    for (int level = 1; level <= kSmall.num_levels; ++level) {
      const int64_t width = kSmall.GroupTokens(level);
      EXPECT_EQ(kSmall.ShareOf(level, t),
                t / width * kSmall.rank + t % width * kSmall.rank / width);
      EXPECT_EQ(Hierarchy::ParentShare(kSmall.ShareOf(level, t)), kSmall.ShareOf(level + 1, t));
    }
  }
}

TEST(SlotLayout, VisibleGroupsOfALevelHaveColumnsOfTheirOwn) {
  AttentionSpec spec;
  spec.num_heads = spec.num_kv_heads = 1;
  spec.head_dim = 8;
  spec.hierarchy = {4, 2, 3, 3};
  const SlotLayout layout(spec, 2, CacheType::kBF16);
  for (int64_t fine = 0; fine < 100; ++fine) {
    std::multiset<int64_t> columns;
    for (int level = 1; level <= 3; ++level) {
      // The groups that are seen now, and the group before the current one, which is seen later.
      const GroupRange groups = Hierarchy::FarGroups(level, fine).Existing();
      for (int64_t g = groups.first; g <= groups.end && g < Hierarchy::GroupAt(level, fine); ++g) {
        for (int r = 0; r < 2; ++r) columns.insert(layout.FarColumn(level, g) + r);
      }
    }
    ASSERT_EQ(std::set<int64_t>(columns.begin(), columns.end()).size(), columns.size());
    if (!columns.empty()) {
      ASSERT_GE(*columns.begin(), spec.hierarchy.sink_tokens);
      ASSERT_LT(*columns.rbegin(), layout.far_columns);
    }
  }
  EXPECT_EQ(layout.NearColumn(9), layout.near_begin + 1);
  EXPECT_EQ(layout.slot_bytes, 2 * layout.head_bytes);
  EXPECT_EQ(layout.head_bytes % SlotLayout::kAlignment, 0);
}

TEST(SlotLayout, GrowsWithTheLogarithmOfTheContext) {
  AttentionSpec spec;
  spec.num_heads = spec.num_kv_heads = 4;
  spec.head_dim = 64;
  spec.hierarchy = {64, 4, 10, 0};
  const int64_t at_10 = SlotLayout(spec, 1, CacheType::kBF16).slot_bytes;
  spec.hierarchy.num_levels = 20;  // a thousand times the horizon
  const int64_t at_20 = SlotLayout(spec, 1, CacheType::kBF16).slot_bytes;
  EXPECT_LT(at_20, 2 * at_10);
}

AttentionSpec OpeningSpec() {
  AttentionSpec spec;
  spec.num_heads = 6;
  spec.num_kv_heads = 2;
  spec.head_dim = 64;
  spec.hierarchy = {64, 32, 6, 4};
  spec.downsampling = Downsampling::kSelect;
  spec.open_units = 16;
  return spec;
}

TEST(ArchiveLayout, HoldsWhatHasLeftTheNearField) {
  const ArchiveLayout archive(OpeningSpec(), 3, CacheType::kBF16);
  for (int64_t tokens = 0; tokens < 1000; ++tokens) {
    // The next token is at `tokens`; it sees its own fine group and the one before token by token.
    const int64_t first_near = tokens < 128 ? 0 : tokens / 64 * 64 - 64;
    ASSERT_EQ(archive.Groups(tokens) * 64, first_near) << "after " << tokens;
    ASSERT_EQ(archive.Bytes(tokens), archive.Groups(tokens) * archive.GroupBytes());
  }
}

// Per token and KV head: 2d numbers, 2d bits and a number of its own; per unit 2d numbers.
TEST(ArchiveLayout, TakesWhatTheSpecSays) {
  const ArchiveLayout archive(OpeningSpec(), 3, CacheType::kBF16);
  EXPECT_EQ(archive.TokenBytes(), 3 * 2 * 64 * 256);
  EXPECT_EQ(archive.SketchBytes(), 3 * 2 * 64 * 26);
}

// Integers have a scale for each key and value, and sketches of 16-bit numbers.
TEST(ArchiveLayout, OfIntegersTakesALittleMoreThanHalf) {
  const ArchiveLayout archive(OpeningSpec(), 3, CacheType::kInt8);
  EXPECT_EQ(archive.TokenBytes(), 3 * 2 * 64 * (128 + 4));
  EXPECT_EQ(archive.SketchBytes(), 3 * 2 * 64 * 26);
}

// Sketches, and with them the slot, are what the slot's type makes them.
TEST(ArchiveLayout, MayHaveSmallerNumbersThanTheSlotBesideIt) {
  for (const CacheType slot : {CacheType::kF32, CacheType::kBF16}) {
    const SlotLayout same(OpeningSpec(), 3, slot);
    const SlotLayout less(OpeningSpec(), 3, slot, CacheType::kInt8);
    const ArchiveLayout archive = less.Archive(OpeningSpec());
    EXPECT_EQ(archive.TokenBytes(), 3 * 2 * 64 * (128 + 4));
    EXPECT_EQ(archive.SketchBytes(), same.Archive(OpeningSpec()).SketchBytes());
    EXPECT_EQ(less.slot_bytes, same.slot_bytes);
    EXPECT_NE(less, same);
  }
  EXPECT_TRUE(CanArchive(CacheType::kBF16, CacheType::kBF16));
  EXPECT_FALSE(CanArchive(CacheType::kInt8, CacheType::kBF16));
}

TEST(SlotLayout, OfIntegersHasAScaleForEachKeyAndValue) {
  AttentionSpec spec;
  spec.num_heads = spec.num_kv_heads = 2;
  spec.head_dim = 64;
  spec.hierarchy = {64, 4, 4, 0};
  const SlotLayout halves(spec, 3, CacheType::kBF16);
  const SlotLayout integers(spec, 3, CacheType::kInt8);
  EXPECT_EQ(integers.columns, halves.columns);
  EXPECT_EQ(halves.scales_offset, halves.sums_offset);
  EXPECT_EQ(integers.sums_offset - integers.scales_offset, 2 * 2 * integers.columns);
  EXPECT_EQ(halves.head_bytes - integers.head_bytes, 2 * (64 - 2) * integers.columns);
  EXPECT_EQ(FullCacheBytesPerToken(integers), 2 * 3 * 2 * (64 + 2));
}

/// Whatever the sizes, numbers lie where the type wants them.
TEST(ArchiveLayout, SketchesAreWholeElements) {
  for (const CacheType type : {CacheType::kF32, CacheType::kBF16}) {
    for (const int64_t unit : {1, 2, 3, 32}) {
      for (const int64_t dim : {2, 6, 64}) {
        const SketchLayout sketch(dim, unit, type);
        EXPECT_EQ(sketch.bytes % SizeOf(type), 0);
        EXPECT_EQ(sketch.codes_offset, (2 * dim + unit) * SizeOf(type));
        EXPECT_GE(sketch.bytes, sketch.codes_offset + (dim + 3) / 4 * unit);
      }
    }
  }
}

/// With a max_distance of 48 groups the 46 newest archived ones are met in their places.
TEST(SlotLayout, HasSketchesOfTheGroupsThatAreMetInTheirPlaces) {
  AttentionSpec spec = OpeningSpec();
  const SlotLayout open(spec, 3, CacheType::kBF16);
  EXPECT_EQ(spec.GroupsInPlace(), 0);
  spec.open_units = 0;
  EXPECT_EQ(SlotLayout(spec, 3, CacheType::kBF16), open);
  spec.max_distance = 3072;
  const SlotLayout closed(spec, 3, CacheType::kBF16);
  spec.open_units = 16;
  EXPECT_EQ(spec.GroupsInPlace(), 46);
  const SlotLayout placed(spec, 3, CacheType::kBF16);
  EXPECT_EQ(placed.sketches_offset, closed.sketches_offset);
  EXPECT_EQ(placed.slot_bytes - closed.slot_bytes, 46 * 3 * 2 * 64 * 26);
}

TEST(ArchiveLayout, IsEmptyForModelsThatOpenNothing) {
  AttentionSpec spec = OpeningSpec();
  spec.open_units = 0;
  const ArchiveLayout archive(spec, 3, CacheType::kBF16);
  EXPECT_FALSE(archive);
  EXPECT_EQ(archive.Bytes(1'000'000), 0);
}

}  // namespace
}  // namespace fmaserver::kernels
