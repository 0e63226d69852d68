// The 16-bit element types in memory, and their conversions to and from float32. constexpr, so that
// host and device code share them.
#pragma once

#include <bit>
#include <cstdint>

namespace fmaserver::kernels {

/// A bfloat16 in memory: the upper half of a float32.
struct BFloat16 {
  uint16_t bits;
};

/// An IEEE binary16 in memory.
struct Float16 {
  uint16_t bits;
};

constexpr float ToFloat(float value) { return value; }

constexpr float ToFloat(BFloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

constexpr float ToFloat(Float16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000U) << 16;
  const uint32_t exponent = (value.bits >> 10) & 0x1FU;
  const uint32_t mantissa = value.bits & 0x3FFU;
  constexpr float kSubnormalUnit = 0x1p-24F;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * kSubnormalUnit;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  const uint32_t wide_exponent = exponent == 0x1F ? 0xFF : exponent + 127 - 15;
  return std::bit_cast<float>(sign | (wide_exponent << 23) | (mantissa << 13));
}

template <typename T>
constexpr T FromFloat(float value);

template <>
constexpr float FromFloat<float>(float value) {
  return value;
}

/// Rounds to nearest, ties to even; NaN stays NaN.
template <>
constexpr BFloat16 FromFloat<BFloat16>(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value != value) return {static_cast<uint16_t>((bits >> 16) | 0x40U)};
  return {static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16)};
}

/// Rounds to nearest, ties to even; a value that is too large becomes infinite, NaN stays NaN.
template <>
constexpr Float16 FromFloat<Float16>(float value) {
  constexpr uint32_t kInfinity = 0x7C00;
  constexpr float kLeastNormal = 0x1p-14F;
  constexpr float kTooLarge = 0x1p16F;
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000U;
  const uint32_t magnitude_bits = bits & 0x7FFFFFFFU;
  const auto magnitude = std::bit_cast<float>(magnitude_bits);
  if (value != value) return {static_cast<uint16_t>(sign | kInfinity | 0x200U)};
  if (magnitude >= kTooLarge) return {static_cast<uint16_t>(sign | kInfinity)};
  if (magnitude < kLeastNormal) {
    // The last bit of a sum with 1/2 is worth 2^-24, which is one unit of a subnormal.
    const uint32_t units = std::bit_cast<uint32_t>(magnitude + 0.5F) - 0x3F000000U;
    return {static_cast<uint16_t>(sign | units)};
  }
  constexpr uint32_t kRebias = (127U - 15U) << 23;
  const uint32_t rounded = magnitude_bits - kRebias + 0xFFFU + ((magnitude_bits >> 13) & 1U);
  return {static_cast<uint16_t>(sign | (rounded >> 13))};
}

}  // namespace fmaserver::kernels
