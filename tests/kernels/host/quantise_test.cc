#include "kernels/host/quantise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::kernels {
namespace {

std::vector<float> RandomBlock(float size, std::mt19937& random) {
  std::normal_distribution<float> normal(0, size);
  std::vector<float> numbers(kWeightBlock);
  for (float& number : numbers) number = normal(random);
  return numbers;
}

double SquaredError(const std::vector<float>& numbers, const WeightBlock& block) {
  double error = 0;
  for (size_t i = 0; i < numbers.size(); ++i) {
    error += std::pow(double{numbers[i]} - block.At(static_cast<int64_t>(i)), 2);
  }
  return error;
}

TEST(QuantiseTest, Int8IsTheNearestMultipleOfAScaleOfFloat16) {
  std::mt19937 random(1);
  for (const float size : {1e-3F, 0.02F, 1.0F, 5000.0F}) {
    const auto numbers = RandomBlock(size, random);
    const auto block = Quantise(numbers, {WeightFormat::kInt8});
    ASSERT_TRUE(block.ok()) << block.status();
    float largest = 0;
    for (const float x : numbers) largest = std::max(largest, std::abs(x));
    EXPECT_EQ(block->scale.bits, FromFloat<Float16>(largest / 127).bits);
    // A scale that was rounded down cuts the largest number by at most 127 * 2^-11 of the scale.
    for (int64_t i = 0; i < kWeightBlock; ++i) {
      EXPECT_NEAR(block->At(i), numbers[i], ToFloat(block->scale) * 0.57F);
    }
  }
}

TEST(QuantiseTest, Int4IsBetterThanTheLargestNumberOnTheLastCode) {
  std::mt19937 random(2);
  double ours = 0;
  double plain = 0;
  for (int round = 0; round < 200; ++round) {
    const auto numbers = RandomBlock(0.02F, random);
    const auto block = Quantise(numbers, {WeightFormat::kInt4});
    ASSERT_TRUE(block.ok()) << block.status();
    ours += SquaredError(numbers, *block);
    const float extreme = *std::ranges::max_element(
        numbers, [](float a, float b) { return std::abs(a) < std::abs(b); });
    WeightBlock simple{.format = WeightFormat::kInt4, .scale = FromFloat<Float16>(extreme / -8)};
    for (int64_t i = 0; i < kWeightBlock; ++i) {
      const float code = std::nearbyint(numbers[i] / ToFloat(simple.scale)) + 8;
      simple.codes[i] = static_cast<int8_t>(std::clamp(code, 0.0F, 15.0F));
    }
    plain += SquaredError(numbers, simple);
  }
  EXPECT_LT(ours, 0.92 * plain);
}

TEST(QuantiseTest, MultiplesOfAScaleStayWhatTheyAre) {
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    const int most = format == WeightFormat::kInt8 ? 127 : 7;
    std::vector<float> numbers;
    for (int i = 0; i < kWeightBlock; ++i) numbers.push_back(0.25F * static_cast<float>(most - i));
    if (format == WeightFormat::kInt4) {
      for (float& number : numbers) number = std::max(number, -2.0F);
    }
    const auto block = Quantise(numbers, {format});
    for (int64_t i = 0; i < kWeightBlock; ++i) EXPECT_EQ(block->At(i), numbers[i]);
  }
}

TEST(QuantiseTest, NothingAndTheTiniestBecomeZero) {
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    for (const float size : {0.0F, 1e-45F, 1e-9F}) {
      const auto block = Quantise(std::vector<float>(20, size), {format});
      ASSERT_TRUE(block.ok()) << block.status();
      for (int64_t i = 0; i < kWeightBlock; ++i) EXPECT_EQ(block->At(i), 0);
    }
  }
}

TEST(QuantiseTest, TheLargestThatFitIsKeptAndMoreIsRefused) {
  std::vector<float> numbers(kWeightBlock, 1.0F);
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    const float largest = 65504.0F * (format == WeightFormat::kInt8 ? 127 : 7);
    for (const float sign : {1.0F, -1.0F}) {
      numbers[3] = sign * largest;
      const auto block = Quantise(numbers, {format});
      ASSERT_TRUE(block.ok()) << block.status();
      EXPECT_NEAR(block->At(3), numbers[3], 0.01F * largest);
    }
    for (const float bad : {1.01F * largest, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
      numbers[3] = bad;
      const auto refused = Quantise(numbers, {format}).status();
      EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_NE(refused.message().find("allowed: numbers up to"), std::string::npos) << refused;
    }
  }
}

/// The bytes of GGUF's blocks, codes and scales apart.
TEST(QuantiseTest, ReadsStoredBlocks) {
  std::vector<std::byte> codes(kWeightBlock);
  for (int i = 0; i < kWeightBlock; ++i) codes[i] = static_cast<std::byte>(i * 8 - 128);
  const std::vector<Float16> scale = {FromFloat<Float16>(0.5F)};
  const std::vector<Float16> minimum = {FromFloat<Float16>(-3.0F)};
  const auto of_block = [](const std::vector<Float16>& halves) {
    return HostMatrix{reinterpret_cast<const std::byte*>(halves.data()), WeightFormat::kF16, 1, 1};
  };
  const HostMatrix scales = of_block(scale);
  const HostMatrix minima = of_block(minimum);
  HostMatrix weight{codes.data(), WeightFormat::kInt8, 1, kWeightBlock, &scales};
  EXPECT_EQ(BlockOf(weight, 0, 0).At(0), 0.5F * -128);
  EXPECT_EQ(BlockOf(weight, 0, 0).At(31), 0.5F * 120);

  codes[2] = std::byte{0xA3};  // inputs 2 and 18
  weight.format = WeightFormat::kInt4;
  EXPECT_EQ(BlockOf(weight, 0, 0).At(2), 0.5F * (3 - 8));
  EXPECT_EQ(BlockOf(weight, 0, 0).At(18), 0.5F * (10 - 8));
  weight.minima = &minima;
  EXPECT_EQ(BlockOf(weight, 0, 0).At(2), 0.5F * 3 - 3);
  EXPECT_EQ(BlockOf(weight, 0, 0).At(18), 0.5F * 10 - 3);
}

}  // namespace
}  // namespace fmaserver::kernels
