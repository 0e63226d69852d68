// On every instruction set, rounding gives the bits of its plain definition.
#include "kernels/host/block_rounding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/fma/element.h"
#include "tests/kernels/backends.h"
#include "tests/kernels/plain_rounding.h"

namespace fmaserver::kernels {
namespace {

constexpr BlockKind kBlockKinds[] = {
    {WeightFormat::kInt8}, {WeightFormat::kInt4}, {WeightFormat::kInt4, true}};

class BlockRoundingTest : public testing::BackendTest {};

/// Rows of one kind of numbers each: of every size, with equal and opposite extremes, of few
/// values, tiny ones and none at all.
std::vector<float> RandomRow(int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  const float size = std::ldexp(1.0F, static_cast<int>(random() % 32) - 18);
  const auto pattern = random() % 7;
  std::vector<float> row(count);
  for (float& x : row) {
    x = size * std::clamp(normal(random), -3.9F, 3.9F);
    if (pattern == 1 && random() % 3 != 0) x = 0;
    if (pattern == 2) x = random() % 2 == 0 ? size : -size;
    if (pattern == 3) x = size * static_cast<float>(random() % 4);
    if (pattern == 4) x = -size;
    if (pattern == 5) x *= 0x1p-24F;
    if (pattern == 6) x *= random() % 3 == 0 ? 0 : 0x1p-126F;
  }
  return row;
}

template <typename T>
std::vector<T> As(const std::vector<float>& numbers) {
  std::vector<T> all;
  for (const float x : numbers) all.push_back(FromFloat<T>(x));
  return all;
}

template <typename T>
void ExpectPlainBits(const std::vector<float>& numbers, WeightFormat format, int64_t rows) {
  const std::vector<T> stored = As<T>(numbers);
  const int64_t cols = std::ssize(stored) / rows;
  // Files place weights anywhere.
  std::vector<std::byte> bytes(stored.size() * sizeof(T) + 1);
  std::memcpy(&bytes[1], stored.data(), stored.size() * sizeof(T));
  const HostMatrix weight{.data = &bytes[1], .format = format, .rows = rows, .cols = cols};
  for (const BlockKind kind : kBlockKinds) {
    for (int64_t row = 0; row < rows; ++row) {
      std::vector<WeightBlock> blocks(BlocksOfRow(cols));
      ASSERT_EQ(RoundPlainRow(weight, row, kind, blocks.data()), -1);
      for (int64_t b = 0; b < std::ssize(blocks); ++b) {
        std::vector<float> part;
        for (int64_t i = b * kWeightBlock; i < std::min((b + 1) * kWeightBlock, cols); ++i) {
          part.push_back(ToFloat(stored[row * cols + i]));
        }
        const WeightBlock plain = testing::PlainRounding(part, kind);
        const std::string what = std::string(NameOf(kind.format)) +
                                 (kind.has_minima ? " with minima, of " : ", of ") +
                                 ::testing::PrintToString(part);
        ASSERT_EQ(blocks[b].format, plain.format);
        ASSERT_EQ(blocks[b].has_minimum, plain.has_minimum);
        ASSERT_EQ(blocks[b].scale.bits, plain.scale.bits) << what;
        ASSERT_EQ(blocks[b].minimum.bits, plain.minimum.bits) << what;
        ASSERT_EQ(blocks[b].codes, plain.codes) << what;
      }
    }
  }
}

TEST_P(BlockRoundingTest, GivesTheBitsOfItsDefinition) {
  std::mt19937 random(1);
  for (int round = 0; round < 150; ++round) {
    const int64_t rows = 1 + static_cast<int64_t>(random() % 3);
    const int64_t cols = 1 + static_cast<int64_t>(random() % 200);
    std::vector<float> numbers;
    for (int64_t row = 0; row < rows; ++row) {
      for (const float x : RandomRow(cols, random)) numbers.push_back(x);
    }
    ExpectPlainBits<float>(numbers, WeightFormat::kF32, rows);
    ExpectPlainBits<BFloat16>(numbers, WeightFormat::kBF16, rows);
    ExpectPlainBits<Float16>(numbers, WeightFormat::kF16, rows);
  }
}

TEST_P(BlockRoundingTest, SaysWhichBlockCannotBeRounded) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const BlockKind kind : kBlockKinds) {
    const float most = LargestFor(kind);
    for (const float bad : {std::nextafter(most, kInfinity), -kInfinity, -std::nanf("")}) {
      for (const int64_t at : {0, 40, 64, 69}) {
        std::vector<float> numbers(70, -most);
        const HostMatrix weight{.data = reinterpret_cast<const std::byte*>(numbers.data()),
                                .format = WeightFormat::kF32,
                                .rows = 1,
                                .cols = 70};
        std::vector<WeightBlock> blocks(3);
        EXPECT_EQ(RoundPlainRow(weight, 0, kind, blocks.data()), -1);
        numbers[at] = bad;
        EXPECT_EQ(RoundPlainRow(weight, 0, kind, blocks.data()), at / kWeightBlock) << bad;
      }
    }
  }
}

FMA_ON_BACKENDS(BlockRoundingTest, testing::CpuBackendNames);

}  // namespace
}  // namespace fmaserver::kernels
