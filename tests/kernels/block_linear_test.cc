// Products with integers in blocks, against plain loops that follow the definition of
// kernels/cpu/block_linear.h, on every instruction set of this machine and on CUDA.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/host/rounding.h"
#include "tests/kernels/backends.h"
#include "tests/kernels/cpu/emulated_tiles.h"
#include "tests/kernels/plain_rounding.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::kernels {
namespace {

using testing::DeviceMatrix;
using testing::ProductBackendNames;

enum class Kind { kInt8, kInt4, kInt4Minima };
constexpr std::array<Kind, 3> kKinds = {Kind::kInt8, Kind::kInt4, Kind::kInt4Minima};

/// A weight of integers in blocks as a checkpoint stores it.
struct Stored {
  Kind kind = Kind::kInt8;
  std::vector<std::byte> codes;
  std::vector<Float16> scales;
  std::vector<Float16> minima;
  HostMatrix scales_view;
  HostMatrix minima_view;
  HostMatrix view;

  WeightFormat format() const {
    return kind == Kind::kInt8 ? WeightFormat::kInt8 : WeightFormat::kInt4;
  }
};

/// Codes of every value, scales and minima of every size, some of them zero.
std::unique_ptr<Stored> RandomStored(Kind kind, int64_t out, int64_t in, std::mt19937& random) {
  auto stored = std::make_unique<Stored>();
  stored->kind = kind;
  const int64_t blocks = out * in / kWeightBlock;
  const auto half = [&random] {
    constexpr std::array<float, 4> kSizes = {0.0F, 6e-8F, 0.01F, 300.0F};
    const float size = kSizes[random() % kSizes.size()];
    const auto x = static_cast<float>(static_cast<int>(random() % 201) - 100) / 100.0F;
    return FromFloat<Float16>(size * x);
  };
  for (int64_t i = 0; i < blocks * RowBytes(stored->format(), kWeightBlock); ++i) {
    stored->codes.push_back(static_cast<std::byte>(random()));
  }
  for (int64_t i = 0; i < blocks; ++i) stored->scales.push_back(half());
  for (int64_t i = 0; kind == Kind::kInt4Minima && i < blocks; ++i)
    stored->minima.push_back(half());
  const auto of_blocks = [&](const std::vector<Float16>& halves) {
    return HostMatrix{.data = reinterpret_cast<const std::byte*>(halves.data()),
                      .format = WeightFormat::kF16,
                      .rows = out,
                      .cols = in / kWeightBlock};
  };
  stored->scales_view = of_blocks(stored->scales);
  stored->minima_view = of_blocks(stored->minima);
  stored->view = {.data = stored->codes.data(),
                  .format = stored->format(),
                  .rows = out,
                  .cols = in,
                  .scales = &stored->scales_view,
                  .minima = stored->minima.empty() ? nullptr : &stored->minima_view};
  return stored;
}

/// What a code stands for in units of the scale, from the stored bytes themselves.
int CodeOf(const Stored& stored, int64_t block, int64_t i) {
  const auto bytes = std::span(stored.codes);
  if (stored.kind == Kind::kInt8) {
    return static_cast<int8_t>(std::to_integer<uint8_t>(bytes[block * 32 + i]));
  }
  const int both = std::to_integer<int>(bytes[block * 16 + i % 16]);
  const int code = i < 16 ? both % 16 : both / 16;
  return stored.kind == Kind::kInt4 ? code - 8 : code;
}

/// One output of one row, by the definition.
float Expected(const Stored& stored, int64_t out, const float* x, int64_t in) {
  float y = 0;
  for (int64_t b = 0; b < in / 32; ++b, x += 32) {
    float magnitude = 0;
    for (int64_t i = 0; i < 32; ++i) magnitude = std::max(magnitude, std::abs(x[i]));
    const bool nothing = magnitude < 0x1p-100F;
    const float scale = nothing ? 0.0F : magnitude / 127;
    const int64_t block = out * (in / 32) + b;
    int sum = 0;
    int dot = 0;
    for (int64_t i = 0; i < 32; ++i) {
      const int code = nothing ? 0 : static_cast<int>(std::nearbyint(x[i] * (127 / magnitude)));
      sum += code;
      dot += code * CodeOf(stored, block, i);
    }
    y = std::fma(static_cast<float>(dot), ToFloat(stored.scales[block]) * scale, y);
    if (stored.minima.empty()) continue;
    y = std::fma(ToFloat(stored.minima[block]), scale * static_cast<float>(sum), y);
  }
  return y;
}

std::vector<float> RandomRows(int64_t rows, int64_t cols, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(rows * cols));
  for (float& value : x) value = normal(random);
  // Blocks of nothing, of tiny and of large numbers.
  for (int64_t first = 0; first + 32 <= std::ssize(x); first += 32) {
    constexpr std::array<float, 8> kSizes = {1, 1, 1, 1, 0, 1e-36F, 1e-10F, 1e10F};
    const float size = kSizes[random() % kSizes.size()];
    for (int64_t i = 0; i < 32; ++i) x[first + i] *= size;
  }
  return x;
}

class BlockLinearTest : public testing::BackendTest {
 protected:
  /// The definition has fused multiply-adds, which the oldest processors have not.
  bool IsExact() const {
    return !GetParam().starts_with("cpu") || GetParam().find("AVX") != std::string::npos ||
           GetParam().find("AMX") != std::string::npos;
  }

  std::unique_ptr<LinearWeights> Pack(std::span<const HostLinear> stacked) {
    auto packed = backend().PackLinear(stacked);
    EXPECT_TRUE(packed.ok()) << packed.status();
    return *std::move(packed);
  }

  std::vector<float> Multiply(const LinearWeights& weights, const std::vector<float>& x,
                              int64_t rows, const std::vector<float>* add_to = nullptr) {
    const DeviceMatrix inputs(backend(), rows, x);
    const DeviceMatrix y(
        backend(), rows,
        add_to != nullptr ? *add_to : std::vector<float>(rows * weights.out, std::nanf("")));
    backend().Linear(inputs, weights, add_to != nullptr, y);
    return y.Read();
  }

  void ExpectNear(float found, float expected, const std::string& where) const {
    if (IsExact()) {
      ASSERT_EQ(found, expected) << where;
    } else {
      ASSERT_NEAR(found, expected, 1e-4 * (1 + std::abs(expected))) << where;
    }
  }
};

TEST_P(BlockLinearTest, EqualsPlainLoops) {
  std::mt19937 random(1);
  // One past a tile, many, and around the number from which CUDA has another kernel.
  constexpr std::array<int64_t, 9> kRows = {1, 9, 33, 2, 70, 8, 32, 5, 65};
  for (int round = 0; round < Rounds(54); ++round) {
    const Kind kind = kKinds[(round + round / 9) % 3];
    const int64_t rows = kRows[round % 9];
    const int64_t out = 1 + static_cast<int64_t>(random() % 140);
    const int64_t in = 32 * (1 + static_cast<int64_t>(random() % (round % 6 == 0 ? 40 : 5)));
    const auto stored = RandomStored(kind, out, in, random);
    const std::vector<float> bias = RandomRows(1, out, random);
    const bool has_bias = random() % 2 == 0;
    HostLinear host{stored->view, {}};
    if (has_bias) {
      host.bias = {.data = reinterpret_cast<const std::byte*>(bias.data()), .rows = 1, .cols = out};
    }
    const auto packed = Pack({&host, 1});
    const std::vector<float> x = RandomRows(rows, in, random);
    const std::vector<float> before = RandomRows(rows, out, random);
    const bool accumulate = random() % 2 == 0;
    const auto y = Multiply(*packed, x, rows, accumulate ? &before : nullptr);
    for (int64_t i = 0; i < rows * out; ++i) {
      float expected = Expected(*stored, i % out, &x[i / out * in], in);
      if (has_bias) expected += bias[i % out];
      if (accumulate) expected += before[i];
      ExpectNear(y[i], expected,
                 std::to_string(rows) + " x " + std::to_string(in) + " x " + std::to_string(out));
    }
  }
}

TEST_P(BlockLinearTest, ARowDoesNotDependOnItsNeighbours) {
  std::mt19937 random(2);
  for (const Kind kind : kKinds) {
    const int64_t in = 96;
    const int64_t out = 150;
    const auto stored = RandomStored(kind, out, in, random);
    const HostLinear host{stored->view, {}};
    const auto packed = Pack({&host, 1});
    const std::vector<float> x = RandomRows(41, in, random);
    const auto all = Multiply(*packed, x, 41);
    for (const auto& [first, rows] :
         std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {5, 1}, {40, 1}, {3, 8}, {7, 30}}) {
      const auto part = std::span(x).subspan(first * in, rows * in);
      const auto y = Multiply(*packed, {part.begin(), part.end()}, rows);
      ASSERT_TRUE(std::equal(y.begin(), y.end(), all.begin() + first * out)) << first;
    }
  }
}

/// Inputs that are not whole blocks count as if zeros followed them.
TEST_P(BlockLinearTest, RoundsPlainWeightsAsDefined) {
  std::mt19937 random(3);
  for (const Kind kind : kKinds) {
    const BlockKind block_kind = {kind == Kind::kInt8 ? WeightFormat::kInt8 : WeightFormat::kInt4,
                                  kind == Kind::kInt4Minima};
    for (const int64_t in : {1, 31, 64, 77}) {
      if (in == 1 && kind != Kind::kInt8) continue;  // any number is 4 bits with a minimum
      const int64_t out = 45;
      std::normal_distribution<float> normal(0, 0.02F);
      std::vector<float> weight(out * in);
      for (float& number : weight) number = normal(random);
      if (block_kind.has_minima) {
        for (float& number : weight) number = 1 + std::round(number * 100) / 16;
      }
      const HostLinear host{
          {.data = reinterpret_cast<const std::byte*>(weight.data()), .rows = out, .cols = in}, {}};
      const auto packed = backend().PackQuantised({&host, 1}, block_kind.format);
      ASSERT_TRUE(packed.ok()) << packed.status();
      std::vector<int64_t> ids(out);
      for (int64_t i = 0; i < out; ++i) ids[i] = i;
      const DeviceMatrix table(backend(), out, std::vector<float>(out * in, 2.0F));
      backend().Embed(ids, **packed, /*accumulate=*/true, table);
      const auto rows = table.Read();
      const auto rounded = [&](int64_t o, int64_t i) {
        const int64_t first = i / 32 * 32;
        const auto row = std::span(weight).subspan(o * in, in);
        const auto part = row.subspan(first, std::min<int64_t>(32, in - first));
        return testing::PlainRounding(part, block_kind).At(i - first);
      };
      // The last column of the weight times 127, which is rounded to itself.
      std::vector<float> x(in, 0.0F);
      x[in - 1] = 127;
      const auto y = Multiply(**packed, x, 1);
      for (int64_t o = 0; o < out; ++o) {
        for (int64_t i = 0; i < in; ++i) ASSERT_EQ(rows[o * in + i], 2.0F + rounded(o, i));
        ExpectNear(y[o], 127 * rounded(o, in - 1), "the last column");
      }
    }
  }
}

TEST_P(BlockLinearTest, PartsOfAStackMayHaveDifferentFormats) {
  std::mt19937 random(4);
  const int64_t in = 64;
  std::vector<std::unique_ptr<Stored>> stored;
  std::vector<HostLinear> parts;
  const std::vector<float> bias = RandomRows(1, 33, random);
  for (const Kind kind : kKinds) {
    stored.push_back(RandomStored(kind, 33, in, random));
    parts.push_back({stored.back()->view, {}});
  }
  parts[1].bias = {.data = reinterpret_cast<const std::byte*>(bias.data()), .rows = 1, .cols = 33};
  const auto stacked = Pack(parts);
  const std::vector<float> x = RandomRows(5, in, random);
  const auto y = Multiply(*stacked, x, 5);
  for (size_t part = 0; part < 3; ++part) {
    const auto alone = Pack({&parts[part], 1});
    const auto z = Multiply(*alone, x, 5);
    for (int64_t i = 0; i < 5 * 33; ++i) {
      ASSERT_EQ(y[i / 33 * 99 + static_cast<int64_t>(part) * 33 + i % 33], z[i]);
    }
  }
}

TEST_P(BlockLinearTest, BesidePlainWeightsTheyBecomeFloat32) {
  std::mt19937 random(5);
  const int64_t in = 32;
  const auto stored = RandomStored(Kind::kInt4Minima, 10, in, random);
  const std::vector<float> plain = RandomRows(7, in, random);
  const HostLinear parts[] = {
      {stored->view, {}},
      {{.data = reinterpret_cast<const std::byte*>(plain.data()), .rows = 7, .cols = in}, {}}};
  const auto packed = Pack(parts);
  std::vector<float> x(in, 0.0F);
  x[20] = 1;
  const auto y = Multiply(*packed, x, 1);
  for (int64_t o = 0; o < 10; ++o) {
    EXPECT_EQ(y[o], ToFloat(stored->scales[o]) * static_cast<float>(CodeOf(*stored, o, 20)) +
                        ToFloat(stored->minima[o]));
  }
}

TEST_P(BlockLinearTest, WhatIsNotFiniteMakesItsRowNaN) {
  std::mt19937 random(6);
  const auto stored = RandomStored(Kind::kInt8, 40, 64, random);
  const HostLinear host{stored->view, {}};
  const auto packed = Pack({&host, 1});
  std::vector<float> x(3 * 64, 1.0F);
  const auto good = Multiply(*packed, x, 3);
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(), -INFINITY}) {
    x[64 + 40] = bad;
    const auto y = Multiply(*packed, x, 3);
    for (int64_t i = 0; i < 3 * 40; ++i) {
      if (i / 40 == 1) {
        ASSERT_TRUE(std::isnan(y[i]));
      } else {
        ASSERT_EQ(y[i], good[i]);
      }
    }
  }
}

TEST_P(BlockLinearTest, RefusesWeightsThatIntegersCannotHold) {
  std::vector<float> weight(64, 1.0F);
  weight[40] = std::nanf("");
  const HostLinear host{
      {.data = reinterpret_cast<const std::byte*>(weight.data()), .rows = 1, .cols = 64}, {}};
  const absl::Status refused = backend().PackQuantised({&host, 1}, WeightFormat::kInt8).status();
  EXPECT_EQ(std::string(refused.message()),
            "a weight is infinite or NaN; allowed: numbers up to 8.31901e+06 in int8");
}

/// CUDA rounds inputs with the operation before, and must not change a bit by that.
TEST_P(BlockLinearTest, WhatComesBeforeChangesNothingWhenItIsTakenIn) {
  std::mt19937 random(7);
  constexpr int64_t kIn = 96;
  constexpr int64_t kOut = 40;
  const auto stored = RandomStored(Kind::kInt4, kOut, kIn, random);
  const HostLinear host{stored->view, {}};
  const auto packed = Pack({&host, 1});
  const std::vector<float> gains = testing::RandomFloats(kIn, 1.0F, random);
  const HostMatrix gain = {
      .data = reinterpret_cast<const std::byte*>(gains.data()), .rows = 1, .cols = kIn};
  const auto norm = backend().PackNorm({NormKind::kRmsNorm, 1e-5F, gain, {}});
  ASSERT_TRUE(norm.ok()) << norm.status();
  for (const int64_t rows : {3, 11}) {
    const DeviceMatrix x(backend(), rows, testing::RandomFloats(rows * 2 * kIn, 1.0F, random));
    const Matrix narrow = {Matrix(x).data, rows, kIn};
    const DeviceMatrix between(backend(), rows, kIn);
    const auto multiply = [&](bool normed, bool read_between) {
      const DeviceMatrix y(backend(), rows, kOut);
      // Twice, so that the matrix in between is overwritten.
      for (int i = 0; i < 2; ++i) {
        if (normed) {
          backend().Norm(narrow, **norm, between);
        } else {
          backend().Activate(MlpKind::kSwiglu, x, between);
        }
        if (read_between) (void)between.Read();
        backend().Linear(between, *packed, /*accumulate=*/false, y);
      }
      return y.Read();
    };
    for (const bool normed : {true, false}) {
      ASSERT_EQ(multiply(normed, false), multiply(normed, true)) << rows << normed;
    }
  }
}

FMA_ON_BACKENDS(BlockLinearTest, ProductBackendNames);

TEST(BlockLinearOnTilesTest, WholeTilesOfRowsAreMultipliedThere) {
  const auto names = ProductBackendNames();
  if (std::ranges::find(names, "cpu_emulated_AMX") == names.end()) GTEST_SKIP() << "no AVX-512";
  std::mt19937 random(8);
  const auto backend =
      *MakeCpuBackend(1, testing::WithEmulatedTiles(cpu::Extensions::OfProcessor()));
  const auto stored = RandomStored(Kind::kInt4, 40, 96, random);
  const HostLinear host{stored->view, {}};
  const auto packed = *backend->PackLinear({&host, 1});
  // Of 16 rows each; two strips of outputs with two tiles each, three blocks of inputs.
  for (const auto& [rows, tiles] : std::vector<std::pair<int64_t, int64_t>>{{15, 0}, {47, 2}}) {
    const DeviceMatrix x(*backend, rows, RandomRows(rows, 96, random));
    const DeviceMatrix y(*backend, rows, 40);
    const int64_t before = testing::EmulatedByteProducts();
    backend->Linear(x, *packed, /*accumulate=*/false, y);
    EXPECT_EQ(testing::EmulatedByteProducts() - before, tiles * 2 * 2 * 3) << rows;
  }
}

}  // namespace
}  // namespace fmaserver::kernels
