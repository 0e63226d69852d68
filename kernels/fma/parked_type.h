// The types that a state may have outside the slots, and how its vectors become integers there.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <string_view>

#include "kernels/fma/cache_type.h"
#include "kernels/fma/element.h"

namespace fmaserver::kernels {

/// Whether slots of elements `slots` can take a state of elements `state`: nothing is rounded on
/// the way into a slot.
constexpr bool FitsInto(CacheType state, CacheType slots) { return SizeOf(state) <= SizeOf(slots); }

/// For messages: the types that fit into the slots.
constexpr std::string_view NamesOfFitting(CacheType slots) {
  switch (slots) {
    case CacheType::kF32:
      return "f32, bf16 or int8";
    case CacheType::kBF16:
      return "bf16 or int8";
    case CacheType::kInt8:
      return "int8";
  }
  return "";
}

/// The scale of a vector whose largest magnitude has the bits `largest`: the bfloat16 nearest to
/// 1/127 of it. So the largest number stands for 127 scales, and 127 scales have this scale again.
/// In bfloat16 127 times 1.5 * 2^k is also 127 times the number below 1.5 * 2^k, so that one stands
/// for both. At most 2^121, so that 127 scales are finite there; 0 for numbers too small for a
/// scale, NaN where one is not finite.
constexpr BFloat16 ParkedScale(int32_t largest) {
  constexpr int32_t kInfinity = 0x7F800000;
  constexpr float kLeastNormal = 0x1p-126F;
  constexpr float kMost = 0x1p121F;
  constexpr uint16_t kMantissa = 0x7F;
  constexpr uint16_t kHalf = 0x40;
  if (largest >= kInfinity) return FromFloat<BFloat16>(std::numeric_limits<float>::quiet_NaN());
  const float exact = std::min(std::bit_cast<float>(largest) / 127.0F, kMost);
  if (exact < kLeastNormal) return {0};
  const BFloat16 scale = FromFloat<BFloat16>(exact);
  const bool is_shared = (scale.bits & kMantissa) == kHalf;
  return {static_cast<uint16_t>(scale.bits - (is_shared ? 1 : 0))};
}

}  // namespace fmaserver::kernels
