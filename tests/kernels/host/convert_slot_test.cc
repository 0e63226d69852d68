#include "kernels/host/convert_slot.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/fma/slot_layout.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::kernels {
namespace {

using Bytes = std::vector<std::byte>;

constexpr int32_t kLayers = 2;
/// From a slot's type to that of a parked state.
constexpr std::pair<CacheType, CacheType> kWays[] = {{CacheType::kF32, CacheType::kBF16},
                                                     {CacheType::kF32, CacheType::kInt8},
                                                     {CacheType::kBF16, CacheType::kInt8}};

Bytes RandomBytes(int64_t count, std::mt19937& random) {
  Bytes bytes(static_cast<size_t>(count));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

Bytes Convert(const AttentionSpec& spec, CacheType from_type, const Bytes& from, CacheType to_type,
              std::byte before = std::byte{0x5A}) {
  Bytes to(static_cast<size_t>(SlotLayout(spec, kLayers, to_type).slot_bytes), before);
  ConvertSlot(spec, kLayers, from_type, from, to_type, to);
  return to;
}

void Write(CacheType type, float number, std::byte* to) {
  const BFloat16 rounded = FromFloat<BFloat16>(number);
  type == CacheType::kF32 ? std::memcpy(to, &number, 4) : std::memcpy(to, &rounded, 2);
}

float Read(CacheType type, const std::byte* from) {
  float number = 0;
  BFloat16 rounded{};
  if (type == CacheType::kF32) std::memcpy(&number, from, 4);
  if (type == CacheType::kBF16) std::memcpy(&rounded, from, 2);
  if (type == CacheType::kInt8) return static_cast<float>(std::to_integer<int8_t>(*from));
  return type == CacheType::kF32 ? number : ToFloat(rounded);
}

/// Finds the vectors of a slot: keys as columns, values as rows.
struct Vectors {
  const SlotLayout layout;

  int64_t count() const { return int64_t{2} * kLayers * layout.num_kv_heads * layout.columns; }
  int64_t Head(int64_t vector) const { return vector / 2 / layout.columns * layout.head_bytes; }
  /// Offset in bytes of a channel.
  int64_t At(int64_t vector, int64_t channel) const {
    const int64_t column = vector / 2 % layout.columns;
    const int64_t size = SizeOf(layout.type);
    return Head(vector) +
           (vector % 2 == 0 ? layout.KeyIndex(column, channel) * size
                            : layout.values_offset + (column * layout.padded_dim + channel) * size);
  }
  float Scale(int64_t vector, const Bytes& slot) const {
    if (layout.type != CacheType::kInt8) return 1;
    const int64_t column = vector / 2 % layout.columns;
    BFloat16 scale{};
    std::memcpy(&scale,
                slot.data() + Head(vector) + layout.scales_offset +
                    2 * (vector % 2 * layout.columns + column),
                2);
    return ToFloat(scale);
  }
  float Number(int64_t vector, int64_t channel, const Bytes& slot) const {
    return Read(layout.type, slot.data() + At(vector, channel)) * Scale(vector, slot);
  }
};

/// Keys and values of every magnitude, some of them zeros, and any bytes everywhere else.
Bytes RandomSlot(const AttentionSpec& spec, CacheType type, std::mt19937& random) {
  const Vectors vectors{{spec, kLayers, type}};
  Bytes slot = RandomBytes(vectors.layout.slot_bytes, random);
  std::normal_distribution<float> normal;
  for (int64_t vector = 0; vector < vectors.count(); ++vector) {
    const float scale =
        random() % 16 == 0 ? 0 : std::ldexp(1.0F, static_cast<int>(random() % 200) - 100);
    const int64_t dim = vector % 2 == 0 ? vectors.layout.head_dim : vectors.layout.padded_dim;
    for (int64_t c = 0; c < dim; ++c) {
      Write(type, c < spec.head_dim ? normal(random) * scale : 0,
            slot.data() + vectors.At(vector, c));
    }
  }
  return slot;
}

TEST(ConvertSlotTest, AParkedStateComesBackAsItWasParked) {
  std::mt19937 random(1);
  for (int round = 0; round < 40; ++round) {
    const AttentionSpec spec = testing::RandomSpec(random);
    for (const auto& [slot_type, parked_type] : kWays) {
      const Bytes slot = RandomSlot(spec, slot_type, random);
      const Bytes parked = Convert(spec, slot_type, slot, parked_type);
      const Bytes restored = Convert(spec, parked_type, parked, slot_type);
      ASSERT_EQ(Convert(spec, slot_type, restored, parked_type), parked)
          << testing::Describe(spec) << NameOf(slot_type) << NameOf(parked_type);
      // Every byte is written.
      ASSERT_EQ(Convert(spec, slot_type, slot, parked_type, std::byte{0}), parked);
      ASSERT_EQ(Convert(spec, parked_type, parked, slot_type, std::byte{0}), restored);
    }
  }
}

// A state of a server with float32 slots goes on in one with bfloat16 slots, and back.
TEST(ConvertSlotTest, IntegersAreRoundedOnceWhateverSlotsTheyPass) {
  std::mt19937 random(2);
  for (int round = 0; round < 20; ++round) {
    const AttentionSpec spec = testing::RandomSpec(random);
    const Bytes slot = RandomSlot(spec, CacheType::kF32, random);
    const Bytes parked = Convert(spec, CacheType::kF32, slot, CacheType::kInt8);
    const Bytes halves = Convert(spec, CacheType::kInt8, parked, CacheType::kBF16);
    ASSERT_EQ(Convert(spec, CacheType::kBF16, halves, CacheType::kInt8), parked)
        << testing::Describe(spec);
  }
}

TEST(ConvertSlotTest, VectorsAreRoundedToTheNearest) {
  std::mt19937 random(3);
  for (int round = 0; round < 20; ++round) {
    const AttentionSpec spec = testing::RandomSpec(random);
    for (const auto& [slot_type, parked_type] : kWays) {
      const Vectors from{{spec, kLayers, slot_type}};
      const Vectors to{{spec, kLayers, parked_type}};
      const Bytes slot = RandomSlot(spec, slot_type, random);
      const Bytes parked = Convert(spec, slot_type, slot, parked_type);
      for (int64_t vector = 0; vector < from.count(); ++vector) {
        float largest = 0;
        for (int32_t c = 0; c < spec.head_dim; ++c) {
          largest = std::max(largest, std::abs(from.Number(vector, c, slot)));
        }
        for (int32_t c = 0; c < spec.head_dim; ++c) {
          const float exact = from.Number(vector, c, slot);
          const float rounded = to.Number(vector, c, parked);
          if (parked_type == CacheType::kBF16) {
            ASSERT_EQ(rounded, ToFloat(FromFloat<BFloat16>(exact)));
            continue;
          }
          // A number that stands for two scales leaves the largest up to a scale too small.
          const float bound = std::abs(exact) > 126.9F / 127 * largest ? 1.001F : 0.501F;
          ASSERT_LE(std::abs(exact - rounded), bound * to.Scale(vector, parked)) << exact;
        }
      }
    }
  }
}

TEST(ConvertSlotTest, WhatIsNotAKeyAValueOrASketchStaysExact) {
  std::mt19937 random(4);
  for (int round = 0; round < 20; ++round) {
    const AttentionSpec spec = testing::RandomSpec(random);
    for (const auto& [slot_type, parked_type] : kWays) {
      const SlotLayout from(spec, kLayers, slot_type);
      const SlotLayout to(spec, kLayers, parked_type);
      const Bytes slot = RandomSlot(spec, slot_type, random);
      const Bytes parked = Convert(spec, slot_type, slot, parked_type);
      ASSERT_EQ(from.sketches_offset - from.sums_offset, to.sketches_offset - to.sums_offset);
      for (int32_t head = 0; head < kLayers * spec.num_kv_heads; ++head) {
        const auto* exact = slot.data() + head * from.head_bytes + from.sums_offset;
        ASSERT_TRUE(std::equal(exact, exact + (from.sketches_offset - from.sums_offset),
                               parked.data() + head * to.head_bytes + to.sums_offset));
      }
    }
  }
}

// Sketches of units that are met by their own positions; integers keep those of bfloat16.
TEST(ConvertSlotTest, SketchesKeepTheirCodes) {
  std::mt19937 random(5);
  const int32_t group_sizes[] = {8, 16};
  int sketches = 0;
  for (int round = 0; round < 40; ++round) {
    const AttentionSpec spec = testing::RandomOpeningSpec(group_sizes, random);
    const ArchiveLayout from(spec, kLayers, CacheType::kF32);
    const ArchiveLayout to(spec, kLayers, CacheType::kInt8);
    const SlotLayout from_slot(spec, kLayers, CacheType::kF32);
    const SlotLayout to_slot(spec, kLayers, CacheType::kInt8);
    const Bytes slot = RandomBytes(from_slot.slot_bytes, random);
    const Bytes parked = Convert(spec, CacheType::kF32, slot, CacheType::kInt8);
    const int64_t codes = (int64_t{spec.head_dim} + 3) / 4 * spec.open_size;
    for (int64_t i = 0; i < spec.GroupsInPlace() * from.UnitsPerGroup(); ++i, ++sketches) {
      const auto* one = slot.data() + from_slot.sketches_offset + i * from.Sketch().bytes;
      const auto* other = parked.data() + to_slot.sketches_offset + i * to.Sketch().bytes;
      const float mean = Read(CacheType::kF32, one);
      if (mean == mean) {
        ASSERT_EQ(Read(CacheType::kBF16, other), ToFloat(FromFloat<BFloat16>(mean)));
      }
      ASSERT_TRUE(std::equal(one + from.Sketch().codes_offset,
                             one + from.Sketch().codes_offset + codes,
                             other + to.Sketch().codes_offset));
    }
  }
  EXPECT_GT(sketches, 0);
}

TEST(ConvertSlotTest, AnyBytesAreSafeAndKeepTheirMeaning) {
  std::mt19937 random(6);
  for (int round = 0; round < 40; ++round) {
    const AttentionSpec spec = testing::RandomSpec(random);
    for (const auto& [slot_type, parked_type] : kWays) {
      const Bytes slot = RandomBytes(SlotLayout(spec, kLayers, slot_type).slot_bytes, random);
      const Bytes parked = Convert(spec, slot_type, slot, parked_type);
      const Bytes restored = Convert(spec, parked_type, parked, slot_type);
      const Vectors vectors{{spec, kLayers, slot_type}};
      for (int64_t vector = 0; vector < vectors.count(); ++vector) {
        const float exact = vectors.Number(vector, 0, slot);
        if (exact != exact) {
          const float back = vectors.Number(vector, 0, restored);
          ASSERT_NE(back, back) << "NaN stays NaN";
        }
      }
      ASSERT_EQ(Convert(spec, slot_type, restored, parked_type), parked);
      (void)Convert(spec, parked_type, RandomBytes(std::ssize(parked), random), slot_type);
    }
  }
}

// Of all scales: 127 of them, and so the largest number of any vector, have the same scale again,
// and every multiple is found again, also once it was rounded to bfloat16.
TEST(ParkedScaleTest, EveryScaleAndEveryMultipleIsFoundAgain) {
  const auto bits_of = [](float number) { return std::bit_cast<int32_t>(number); };
  int scales = 0;
  for (int32_t largest = bits_of(0x1p-100F); largest < bits_of(0x1p-97F); largest += 997) {
    const BFloat16 scale = ParkedScale(largest);
    const float step = ToFloat(scale);
    ASSERT_LE(std::bit_cast<float>(largest) / step, 128);
    ASSERT_GT(std::bit_cast<float>(largest) / step, 126.5);
    ASSERT_EQ(ParkedScale(bits_of(127 * step)).bits, scale.bits);
    ASSERT_EQ(ParkedScale(bits_of(ToFloat(FromFloat<BFloat16>(127 * step)))).bits, scale.bits);
    for (int multiple = 0; multiple <= 127; ++multiple) {
      const float number = static_cast<float>(multiple) * step;
      ASSERT_EQ(std::nearbyint(number * (1 / step)), multiple);
      ASSERT_EQ(std::nearbyint(ToFloat(FromFloat<BFloat16>(number)) * (1 / step)), multiple);
    }
    ++scales;
  }
  EXPECT_GT(scales, 10'000);
  EXPECT_EQ(ParkedScale(0).bits, 0);
  EXPECT_EQ(ParkedScale(bits_of(0x1p-126F)).bits, 0) << "too small for a scale";
  EXPECT_EQ(ToFloat(ParkedScale(bits_of(std::numeric_limits<float>::max()))), 0x1p121F);
}

}  // namespace
}  // namespace fmaserver::kernels
