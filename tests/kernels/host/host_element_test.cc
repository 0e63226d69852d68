#include "kernels/host/host_element.h"

#include <cmath>

#include "gtest/gtest.h"

namespace fmaserver::kernels {
namespace {

TEST(Scalar, EveryFloat16HasItsValue) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const int exponent = static_cast<int>((bits >> 10) & 31);
    const double mantissa = bits & 1023;
    double value =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    if (exponent == 31) value = mantissa == 0 ? INFINITY : NAN;
    if ((bits & 0x8000) != 0) value = -value;
    const float actual = ToFloat(Float16{static_cast<uint16_t>(bits)});
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(actual));
    } else {
      ASSERT_EQ(actual, value) << bits;
      ASSERT_EQ(std::signbit(actual), std::signbit(value)) << bits;
    }
  }
}

TEST(Scalar, BFloat16RoundsToNearestEven) {
  EXPECT_EQ(FromFloat<BFloat16>(1.0F).bits, 0x3F80);
  EXPECT_EQ(FromFloat<BFloat16>(std::bit_cast<float>(0x3F808000U)).bits, 0x3F80);  // tie to even
  EXPECT_EQ(FromFloat<BFloat16>(std::bit_cast<float>(0x3F818000U)).bits, 0x3F82);
  EXPECT_EQ(FromFloat<BFloat16>(std::bit_cast<float>(0x3F808001U)).bits, 0x3F81);
  EXPECT_EQ(FromFloat<BFloat16>(INFINITY).bits, 0x7F80);
  EXPECT_TRUE(std::isnan(ToFloat(FromFloat<BFloat16>(std::bit_cast<float>(0x7F800001U)))));
}

}  // namespace
}  // namespace fmaserver::kernels
