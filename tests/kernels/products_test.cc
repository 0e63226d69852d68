// Products, norms and activations against plain loops, and their row invariance.
#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/fma/element.h"
#include "kernels/host/host_element.h"
#include "tests/kernels/backends.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {
namespace {

class ProductsTest : public BackendTest {};

/// A vector in one of the element types, and its numbers.
struct Stored {
  std::vector<std::byte> bytes;
  std::vector<float> values;
};

Stored Store(std::vector<float> values, kernels::WeightFormat dtype) {
  Stored stored;
  stored.bytes.resize(values.size() * kernels::SizeOf(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == kernels::WeightFormat::kF32) {
      std::memcpy(stored.bytes.data() + 4 * i, &values[i], 4);
    } else {
      uint16_t bits = kernels::FromFloat<kernels::BFloat16>(values[i]).bits;
      // A binary16 with the exponent field of 2^k, k in [-8, 7], a random sign and mantissa.
      if (dtype == kernels::WeightFormat::kF16)
        bits = static_cast<uint16_t>((bits & 0x83FF) | ((7 + i % 16) << 10));
      std::memcpy(stored.bytes.data() + 2 * i, &bits, 2);
    }
    stored.values.push_back(kernels::ElementAsFloat({stored.bytes.data(), dtype, 1, 0}, i));
  }
  return stored;
}

kernels::HostMatrix View(const Stored& stored, kernels::WeightFormat dtype, int64_t rows) {
  return {stored.bytes.data(), dtype, rows, static_cast<int64_t>(stored.values.size()) / rows};
}

TEST_P(ProductsTest, LinearEqualsPlainLoops) {
  std::mt19937 random(1);
  for (const kernels::WeightFormat dtype :
       {kernels::WeightFormat::kF32, kernels::WeightFormat::kF16, kernels::WeightFormat::kBF16}) {
    for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 13, 25}) {
      for (const int64_t out : {1, 63, 64, 65, 130}) {
        // Most are short; one is more than a block takes at a time.
        const int64_t in = out == 63 ? 1100 : 1 + static_cast<int64_t>(random() % 90);
        const Stored weight = Store(RandomFloats(out * in, 0.2F, random), dtype);
        const Stored bias = Store(RandomFloats(out, 1.0F, random), dtype);
        const bool has_bias = random() % 2 == 0;
        const kernels::HostLinear host{View(weight, dtype, out),
                                       has_bias ? View(bias, dtype, 1) : kernels::HostMatrix{}};
        const auto packed = backend().PackLinear({&host, 1});
        ASSERT_TRUE(packed.ok());
        const auto x = RandomFloats(rows * in, 1.0F, random);
        const DeviceMatrix x_there(backend(), rows, x);
        const auto before = RandomFloats(rows * out, 1.0F, random);
        // With many rows, CUDA rounds the inputs to the type of 16-bit weights, which has at least
        // 8 bits.
        const bool rounds = IsCuda() && rows > 8 && dtype != kernels::WeightFormat::kF32;
        const double tolerance = rounds ? 0x1p-8 : 1e-6;
        for (const bool accumulate : {false, true}) {
          const DeviceMatrix y_there(backend(), rows, before);
          backend().Linear(x_there, **packed, accumulate, y_there);
          const auto y = y_there.Read();
          for (int64_t r = 0; r < rows; ++r) {
            for (int64_t o = 0; o < out; ++o) {
              double sum = has_bias ? bias.values[o] : 0;
              double size = 1 + std::abs(sum);
              for (int64_t i = 0; i < in; ++i) {
                const double term = double{x[r * in + i]} * weight.values[o * in + i];
                sum += term;
                size += std::abs(term);
              }
              if (accumulate) sum += before[r * out + o];
              ASSERT_NEAR(y[r * out + o], sum, tolerance * size)
                  << rows << " x " << in << " x " << out;
            }
          }
        }
      }
    }
  }
}

TEST_P(ProductsTest, StackedPartsEqualSeparateOnes) {
  std::mt19937 random(2);
  const int64_t in = 40;
  const auto a = RandomFloats(70 * in, 1.0F, random);
  const auto b = RandomFloats(30 * in, 1.0F, random);
  const Stored sa = Store(a, kernels::WeightFormat::kF32);
  const Stored sb = Store(b, kernels::WeightFormat::kBF16);  // mixed types widen to float32
  const kernels::HostLinear parts[] = {{View(sa, kernels::WeightFormat::kF32, 70), {}},
                                       {View(sb, kernels::WeightFormat::kBF16, 30), {}}};
  const auto stacked = backend().PackLinear(parts);
  ASSERT_TRUE(stacked.ok());
  const DeviceMatrix x(backend(), 4, RandomFloats(4 * in, 1.0F, random));
  const DeviceMatrix y_there(backend(), 4, 100);
  backend().Linear(x, **stacked, false, y_there);
  const auto y = y_there.Read();
  for (int part = 0; part < 2; ++part) {
    const auto alone = backend().PackLinear({&parts[part], 1});
    const int64_t out = (*alone)->out;
    const DeviceMatrix z_there(backend(), 4, out);
    backend().Linear(x, **alone, false, z_there);
    const auto z = z_there.Read();
    for (int64_t r = 0; r < 4; ++r) {
      for (int64_t o = 0; o < out; ++o) {
        // With weights of two types, the sums may have two orders.
        ASSERT_NEAR(z[r * out + o], y[r * 100 + part * 70 + o], 1e-4);
      }
    }
  }
}

TEST_P(ProductsTest, ARowDoesNotDependOnItsNeighbours) {
  std::mt19937 random(3);
  const int64_t in = 77;
  const int64_t out = 150;
  const Stored weight = Store(RandomFloats(out * in, 1.0F, random), kernels::WeightFormat::kBF16);
  const kernels::HostLinear host{View(weight, kernels::WeightFormat::kBF16, out), {}};
  const auto packed = backend().PackLinear({&host, 1});
  const DeviceMatrix x(backend(), 20, RandomFloats(20 * in, 1.0F, random));
  const DeviceMatrix all_there(backend(), 20, out);
  const DeviceMatrix eight_there(backend(), 8, out);
  backend().Linear(x, **packed, false, all_there);
  backend().Linear(x.Rows(0, 8), **packed, false, eight_there);
  const auto all = all_there.Read();
  const auto eight = eight_there.Read();
  for (int64_t r = 0; r < 20; ++r) {
    const DeviceMatrix one_there(backend(), 1, out);
    backend().Linear(x.Rows(r, 1), **packed, false, one_there);
    const auto one = one_there.Read();
    // On CUDA, these are sums of 77 products of about 1 with inputs rounded to 8 bits.
    ExpectSameRows(one, std::span(all).subspan(r * out, out), 0.25F);
    if (r < 8) {
      ASSERT_TRUE(std::equal(one.begin(), one.end(), eight.begin() + r * out)) << "row " << r;
    }
  }
}

TEST_P(ProductsTest, EmbedTakesRowsOfTheTable) {
  std::mt19937 random(4);
  const Stored table = Store(RandomFloats(100 * 10, 1.0F, random), kernels::WeightFormat::kF16);
  const kernels::HostLinear host{View(table, kernels::WeightFormat::kF16, 100), {}};
  const auto packed = backend().PackLinear({&host, 1});
  const std::vector<int64_t> ids = {0, 99, 63, 64, 5};
  const DeviceMatrix x_there(backend(), 5, std::vector<float>(50, 1.0F));
  backend().Embed(ids, **packed, /*accumulate=*/true, x_there);
  const auto x = x_there.Read();
  for (size_t i = 0; i < ids.size(); ++i) {
    for (int c = 0; c < 10; ++c) ASSERT_EQ(x[i * 10 + c], 1.0F + table.values[ids[i] * 10 + c]);
  }
}

TEST_P(ProductsTest, NormsEqualPlainLoops) {
  std::mt19937 random(5);
  for (const kernels::NormKind kind :
       {kernels::NormKind::kLayerNorm, kernels::NormKind::kRmsNorm}) {
    for (const int64_t n : {1, 7, 16, 33, 384}) {
      const Stored weight = Store(RandomFloats(n, 1.0F, random), kernels::WeightFormat::kF32);
      const Stored bias = Store(RandomFloats(n, 1.0F, random), kernels::WeightFormat::kF32);
      const auto packed = backend().PackNorm(
          {kind, 1e-5F, View(weight, kernels::WeightFormat::kF32, 1),
           kind == kernels::NormKind::kLayerNorm ? View(bias, kernels::WeightFormat::kF32, 1)
                                                 : kernels::HostMatrix{}});
      const auto x = RandomFloats(3 * n, 2.0F, random);
      const DeviceMatrix x_there(backend(), 3, x);
      const DeviceMatrix out_there(backend(), 3, n);
      backend().Norm(x_there, **packed, out_there);
      const auto out = out_there.Read();
      for (int64_t r = 0; r < 3; ++r) {
        double mean = 0;
        double square = 0;
        for (int64_t i = 0; i < n && kind == kernels::NormKind::kLayerNorm; ++i)
          mean += x[r * n + i] / n;
        for (int64_t i = 0; i < n; ++i) square += std::pow(x[r * n + i] - mean, 2) / n;
        for (int64_t i = 0; i < n; ++i) {
          double expected = (x[r * n + i] - mean) / std::sqrt(square + 1e-5) * weight.values[i];
          if (kind == kernels::NormKind::kLayerNorm) expected += bias.values[i];
          ASSERT_NEAR(out[r * n + i], expected, 2e-5);
        }
      }
    }
  }
}

TEST_P(ProductsTest, ActivationsEqualTheirFormulas) {
  std::mt19937 random(6);
  for (const int64_t n : {1, 15, 16, 17, 100}) {
    auto in = RandomFloats(2 * 2 * n, 4.0F, random);
    in[0] = 100.0F;
    in[1] = -100.0F;
    const DeviceMatrix in_there(backend(), 2, in);
    const auto check = [&](kernels::MlpKind kind, int64_t columns, auto formula) {
      const DeviceMatrix out_there(backend(), 2, n);
      const kernels::Matrix first_columns = {kernels::Matrix(in_there).data, 2, columns};
      backend().Activate(kind, first_columns, out_there);
      const auto out = out_there.Read();
      for (int64_t i = 0; i < 2 * n; ++i) {
        const double expected = formula(i / n, i % n);
        ASSERT_NEAR(out[i], expected, 1e-5 * (1 + std::abs(expected)));
      }
    };
    check(kernels::MlpKind::kGelu, n, [&](int64_t r, int64_t c) {
      const double x = in[r * n + c];
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    });
    check(kernels::MlpKind::kGeluTanh, n, [&](int64_t r, int64_t c) {
      const double x = in[r * n + c];
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    });
    check(kernels::MlpKind::kSwiglu, 2 * n, [&](int64_t r, int64_t c) {
      const double gate = in[r * 2 * n + c];
      return gate / (1 + std::exp(-gate)) * in[r * 2 * n + n + c];
    });
  }
}

TEST_P(ProductsTest, GatherTakesRows) {
  std::mt19937 random(7);
  const int64_t cols = 300;
  const auto x = RandomFloats(9 * cols, 1.0F, random);
  const DeviceMatrix x_there(backend(), 9, x);
  const std::vector<int32_t> rows = {8, 0, 3, 3};
  const DeviceMatrix out_there(backend(), 4, cols);
  backend().GatherRows(x_there, rows, out_there);
  const auto out = out_there.Read();
  for (int64_t i = 0; i < 4 * cols; ++i) {
    ASSERT_EQ(out[i], x[rows[i / cols] * cols + i % cols]);
  }
}

FMA_ON_BACKENDS(ProductsTest, ProductBackendNames);

}  // namespace
}  // namespace fmaserver::testing
