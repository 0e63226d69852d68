#include "kernels/host/rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/fma/element.h"

namespace fmaserver::kernels {
namespace {

constexpr BlockKind kWithMinima = {WeightFormat::kInt4, true};

HostMatrix View(const std::vector<float>& numbers, int64_t rows) {
  return {.data = reinterpret_cast<const std::byte*>(numbers.data()),
          .format = WeightFormat::kF32,
          .rows = rows,
          .cols = std::ssize(numbers) / rows};
}

std::vector<float> RandomNumbers(int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal(0, 0.02F);
  std::vector<float> numbers(count);
  for (float& number : numbers) number = normal(random);
  return numbers;
}

/// Blocks of `least`..`most` times a scale, plus a minimum, as a bfloat16 copy of them has them.
std::vector<float> OnceOf4Bits(int64_t count, int least, int most, std::mt19937& random) {
  std::vector<float> numbers(count);
  for (int64_t i = 0; i < count; ++i) {
    const auto block = static_cast<float>(i / kWeightBlock % 13);
    const float scale = 0.003F + 0.0004F * block;
    const float minimum = -0.02F - 0.003F * block;
    const int code = least + static_cast<int>(random() % (most - least + 1));
    numbers[i] = ToFloat(FromFloat<BFloat16>(scale * static_cast<float>(code) + minimum));
  }
  return numbers;
}

double ErrorOfRounding(const std::vector<float>& numbers, BlockKind kind) {
  double error = 0;
  for (int64_t first = 0; first < std::ssize(numbers); first += kWeightBlock) {
    const auto block = Quantise(std::span(numbers).subspan(first, kWeightBlock), kind);
    EXPECT_TRUE(block.ok()) << block.status();
    for (int64_t i = 0; i < kWeightBlock; ++i) {
      error += std::pow(double{numbers[first + i]} - block->At(i), 2);
    }
  }
  return error;
}

TEST(RoundingTest, WhatHadMinimaBeforeComesBack) {
  std::mt19937 random(1);
  // Of fewer steps too, as some formats leave them.
  for (const int most : {15, 14, 13, 11, 6}) {
    const auto numbers = OnceOf4Bits(int64_t{100} * kWeightBlock, most == 13 ? 2 : 0, most, random);
    for (int64_t first = 0; first < std::ssize(numbers); first += kWeightBlock) {
      const auto part = std::span(numbers).subspan(first, kWeightBlock);
      const auto block = Quantise(part, kWithMinima);
      ASSERT_TRUE(block.ok() && block->has_minimum) << block.status();
      const auto [low, high] = std::ranges::minmax(part);
      const float largest = std::max(std::abs(low), std::abs(high));
      for (int64_t i = 0; i < kWeightBlock; ++i) {
        EXPECT_NEAR(block->At(i), part[i], 1.5F * largest / 256) << most;
      }
    }
  }
}

TEST(RoundingTest, MinimaAreTakenWhereTheyMakeErrorsMuchSmaller) {
  std::mt19937 random(2);
  const int64_t count = int64_t{40} * 20 * kWeightBlock;
  const auto plain = RandomNumbers(count, random);
  const auto quantised = OnceOf4Bits(count, 0, 15, random);
  EXPECT_FALSE(KindFor(View(plain, 40), WeightFormat::kInt4).has_minima);
  EXPECT_TRUE(KindFor(View(quantised, 40), WeightFormat::kInt4).has_minima);
  EXPECT_FALSE(KindFor(View(quantised, 40), WeightFormat::kInt8).has_minima);
  EXPECT_LT(ErrorOfRounding(plain, kWithMinima),
            0.9 * ErrorOfRounding(plain, {WeightFormat::kInt4}));
  EXPECT_LT(ErrorOfRounding(quantised, kWithMinima),
            0.01 * ErrorOfRounding(quantised, {WeightFormat::kInt4}));
}

/// 7 rows of 2 blocks and a part of one: the sample has fewer than it may.
TEST(RoundingTest, SmallWeightsAreLookedAtWhole) {
  std::mt19937 random(3);
  auto numbers = RandomNumbers(7 * 77, random);
  EXPECT_FALSE(KindFor(View(numbers, 7), WeightFormat::kInt4).has_minima);
  for (float& number : numbers) number = 1.0F + std::round(number * 200) / 16;
  EXPECT_TRUE(KindFor(View(numbers, 7), WeightFormat::kInt4).has_minima);
}

TEST(RoundingTest, EqualAndTinyNumbersLieOnTheMinimum) {
  for (const float size : {0.0F, 0.25F, -3.0F, 65504.0F}) {
    const auto block = Quantise(std::vector<float>(kWeightBlock, size), kWithMinima);
    ASSERT_TRUE(block.ok()) << block.status();
    for (int64_t i = 0; i < kWeightBlock; ++i) EXPECT_EQ(block->At(i), size);
  }
  std::vector<float> tiny(20, 1e-45F);  // and zeros
  const auto block = Quantise(tiny, kWithMinima);
  for (int64_t i = 0; i < kWeightBlock; ++i) EXPECT_EQ(block->At(i), 0);
}

TEST(RoundingTest, WhatFloat16DoesNotHoldIsRefused) {
  std::vector<float> numbers(kWeightBlock, 1.0F);
  numbers[5] = -65504.0F;
  const auto widest = Quantise(numbers, kWithMinima);
  ASSERT_TRUE(widest.ok()) << widest.status();
  EXPECT_EQ(widest->At(5), -65504.0F);
  for (const float bad : {65505.0F, -1e30F, std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    numbers[5] = bad;
    const auto refused = Quantise(numbers, kWithMinima).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(refused.message().find("allowed: numbers up to 65504 in int4 with minima"),
              std::string::npos)
        << refused;
    EXPECT_FALSE(KindFor(View(numbers, 1), WeightFormat::kInt4).has_minima);
  }
}

TEST(RoundingTest, RowsAreWholeBlocks) {
  EXPECT_EQ(BlocksOfRow(1), 1);
  EXPECT_EQ(BlocksOfRow(32), 1);
  EXPECT_EQ(BlocksOfRow(33), 2);
  EXPECT_EQ(RowBytes(BlockKind{WeightFormat::kInt8}, 64), 2 * 34);
  EXPECT_EQ(RowBytes(BlockKind{WeightFormat::kInt4}, 33), 2 * 18);
  EXPECT_EQ(RowBytes(kWithMinima, 32), 20);
}

}  // namespace
}  // namespace fmaserver::kernels
