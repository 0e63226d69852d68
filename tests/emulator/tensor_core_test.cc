// The tensor-core wrapper: a warp's fragments, filled as the PTX manual lays them out, multiply as
// matrices do.
#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/runtime/launch.h"
#include "kernels/cuda/runtime/tensor_core.h"

namespace fmaserver::kernels::cuda {
namespace {

constexpr int kM = 16;
constexpr int kN = 8;
constexpr int kK = 16;

/// The manual's indices of element i of a lane's fragments (PTX ISA 8, "mma.m16n8k16", .bf16).
struct Place {
  int row;
  int column;
};
constexpr Place PlaceInA(int lane, int i) {
  const int row = i < 2 || (i >= 4 && i < 6) ? lane / 4 : lane / 4 + 8;
  return {row, lane % 4 * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
}
constexpr Place PlaceInB(int lane, int i) {
  return {lane % 4 * 2 + (i & 1) + (i >= 2 ? 8 : 0), lane / 4};
}
constexpr Place PlaceInC(int lane, int i) {
  return {i < 2 ? lane / 4 : lane / 4 + 8, lane % 4 * 2 + (i & 1)};
}

struct MultiplyKernel {
  static constexpr int kThreads = 32;
  static constexpr const char* kName = "multiply";
  const uint16_t* a = nullptr;  // [16, 16] bfloat16
  const uint16_t* b = nullptr;  // [16, 8]
  float* c = nullptr;           // [16, 8]

  FMA_DEVICE void operator()() const {
    const int lane = LaneIndex();
    FragmentA left = {};
    FragmentB right = {};
    FragmentC sum;
    for (int i = 0; i < 8; ++i) {
      const Place at = PlaceInA(lane, i);
      left.pair[i / 2] |= uint32_t{Load(a + at.row * kK + at.column)} << (i % 2 * 16);
    }
    for (int i = 0; i < 4; ++i) {
      const Place at = PlaceInB(lane, i);
      right.pair[i / 2] |= uint32_t{Load(b + at.row * kN + at.column)} << (i % 2 * 16);
    }
    for (int i = 0; i < 4; ++i) {
      sum.value[i] = Load(c + PlaceInC(lane, i).row * kN + PlaceInC(lane, i).column);
    }
    MultiplyAdd(left, right, &sum);
    for (int i = 0; i < 4; ++i) {
      Store(c + PlaceInC(lane, i).row * kN + PlaceInC(lane, i).column, sum.value[i]);
    }
  }
};

template <typename T>
Memory Upload(Stream& stream, const std::vector<T>& values) {
  auto memory = Memory::Allocate(Memory::Kind::kDevice, values.size() * sizeof(T));
  EXPECT_TRUE(memory.ok());
  EXPECT_TRUE(stream.CopyToDevice(memory->data(), values.data(), memory->bytes()).ok());
  EXPECT_TRUE(stream.Synchronize().ok());
  return *std::move(memory);
}

TEST(TensorCoreTest, FragmentsMultiplyAsMatrices) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> a(kM * kK);
  std::vector<uint16_t> b(kK * kN);
  std::vector<float> c(kM * kN);
  for (auto* matrix : {&a, &b}) {
    for (uint16_t& x : *matrix) x = FromFloat<BFloat16>(normal(random)).bits;
  }
  for (float& x : c) x = normal(random);
  auto stream = *Stream::Create();
  const Memory on_device[] = {Upload(*stream, a), Upload(*stream, b), Upload(*stream, c)};
  const MultiplyKernel kernel = {on_device[0].As<uint16_t>(), on_device[1].As<uint16_t>(),
                                 on_device[2].As<float>()};
  ASSERT_TRUE(Launch(*stream, {1}, kernel).ok());
  std::vector<float> product(kM * kN);
  ASSERT_TRUE(stream->CopyToHost(product.data(), on_device[2].data(), on_device[2].bytes()).ok());
  ASSERT_TRUE(stream->Synchronize().ok());
  for (int m = 0; m < kM; ++m) {
    for (int n = 0; n < kN; ++n) {
      double expected = c[m * kN + n];
      for (int k = 0; k < kK; ++k) {
        expected += static_cast<double>(ToFloat(BFloat16{a[m * kK + k]})) *
                    ToFloat(BFloat16{b[k * kN + n]});
      }
      EXPECT_NEAR(product[m * kN + n], expected, 1e-5) << m << ", " << n;
    }
  }
}

/// The same of int8 (PTX ISA 8, "mma.m16n8k32", .s8): element i of a lane's fragments.
constexpr int kIntegerK = 32;
constexpr Place IntegerPlaceInA(int lane, int i) {
  const int row = i < 4 || (i >= 8 && i < 12) ? lane / 4 : lane / 4 + 8;
  return {row, lane % 4 * 4 + (i & 3) + (i >= 8 ? 16 : 0)};
}
constexpr Place IntegerPlaceInB(int lane, int i) {
  return {lane % 4 * 4 + (i & 3) + (i >= 4 ? 16 : 0), lane / 4};
}

struct MultiplyIntegersKernel {
  static constexpr int kThreads = 32;
  static constexpr const char* kName = "multiply_integers";
  const int16_t* a = nullptr;  // [16, 32], each a byte
  const int16_t* b = nullptr;  // [32, 8]
  int32_t* c = nullptr;        // [16, 8]

  FMA_DEVICE void operator()() const {
    const int lane = LaneIndex();
    BytesA left = {};
    BytesB right = {};
    IntegersC sum;
    const auto shifted = [](int16_t byte, int i) {
      return static_cast<uint32_t>(byte & 0xFF) << (i % 4 * 8);
    };
    for (int i = 0; i < 16; ++i) {
      const Place at = IntegerPlaceInA(lane, i);
      left.four[i / 4] |= shifted(Load(a + at.row * kIntegerK + at.column), i);
    }
    for (int i = 0; i < 8; ++i) {
      const Place at = IntegerPlaceInB(lane, i);
      right.four[i / 4] |= shifted(Load(b + at.row * kN + at.column), i);
    }
    for (int i = 0; i < 4; ++i) {
      sum.value[i] = Load(c + PlaceInC(lane, i).row * kN + PlaceInC(lane, i).column);
    }
    MultiplyAdd(left, right, &sum);
    for (int i = 0; i < 4; ++i) {
      Store(c + PlaceInC(lane, i).row * kN + PlaceInC(lane, i).column, sum.value[i]);
    }
  }
};

TEST(TensorCoreTest, FragmentsOfIntegersMultiplyAsMatrices) {
  std::mt19937 random(2);
  std::vector<int16_t> a(kM * kIntegerK);
  std::vector<int16_t> b(kIntegerK * kN);
  std::vector<int32_t> c(kM * kN);
  for (auto* matrix : {&a, &b}) {
    for (int16_t& x : *matrix) x = static_cast<int8_t>(random());
  }
  for (int32_t& x : c) x = static_cast<int32_t>(random() % 1000);
  auto stream = *Stream::Create();
  const Memory on_device[] = {Upload(*stream, a), Upload(*stream, b), Upload(*stream, c)};
  const MultiplyIntegersKernel kernel = {on_device[0].As<int16_t>(), on_device[1].As<int16_t>(),
                                         on_device[2].As<int32_t>()};
  ASSERT_TRUE(Launch(*stream, {1}, kernel).ok());
  std::vector<int32_t> product(kM * kN);
  ASSERT_TRUE(stream->CopyToHost(product.data(), on_device[2].data(), on_device[2].bytes()).ok());
  ASSERT_TRUE(stream->Synchronize().ok());
  for (int m = 0; m < kM; ++m) {
    for (int n = 0; n < kN; ++n) {
      int32_t expected = c[m * kN + n];
      for (int k = 0; k < kIntegerK; ++k) expected += a[m * kIntegerK + k] * b[k * kN + n];
      EXPECT_EQ(product[m * kN + n], expected) << m << ", " << n;
    }
  }
}

TEST(TensorCoreTest, PairsRoundToNearest) {
  EXPECT_EQ(PackPair(1.0F, -2.0F), 0xC0003F80);
  EXPECT_EQ(PackPair(1.0F + 0x1p-8F, 1.0F + 0x1p-8F + 0x1p-20F), 0x3F813F80);
}

}  // namespace
}  // namespace fmaserver::kernels::cuda
