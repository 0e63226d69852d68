// The scale of a key or a value that is kept in integers (cache_type.h), the same on every device.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/fma/element.h"

namespace fmaserver::kernels {

/// The scale of a vector whose largest magnitude has the bits `largest`.
constexpr BFloat16 ScaleFor(int32_t largest) {
  constexpr int32_t kInfinity = 0x7F800000;
  constexpr uint32_t kLeastNormal = 0x00800000;
  if (largest >= kInfinity) return FromFloat<BFloat16>(std::numeric_limits<float>::quiet_NaN());
  const auto bits = std::bit_cast<uint32_t>(std::bit_cast<float>(largest) / 127.0F);
  if (bits < kLeastNormal) return {0};
  return {static_cast<uint16_t>((bits + 0xFFFFU) >> 16)};
}

}  // namespace fmaserver::kernels
