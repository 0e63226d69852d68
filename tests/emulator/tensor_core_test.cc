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

TEST(TensorCoreTest, PairsRoundToNearest) {
  EXPECT_EQ(PackPair(1.0F, -2.0F), 0xC0003F80);
  EXPECT_EQ(PackPair(1.0F + 0x1p-8F, 1.0F + 0x1p-8F + 0x1p-20F), 0x3F813F80);
}

}  // namespace
}  // namespace fmaserver::kernels::cuda
