// Keys and values as a cache keeps them, and how float32 becomes them. The counterpart of
// kernels/cpu/cache_vectors-inl.h; kernels/fma/cache_type.h says how integers are rounded.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/cache_scale.h"
#include "kernels/fma/cache_type.h"
#include "kernels/fma/element.h"

namespace fmaserver::kernels::cuda {

/// Calls `function` with a value of the type of a cache's elements.
template <typename Function>
auto WithCacheElement(CacheType type, const Function& function) {
  if (type == CacheType::kF32) return function(float{});
  if (type == CacheType::kBF16) return function(BFloat16{});
  return function(int8_t{});
}

template <typename T>
inline constexpr CacheType kCacheTypeOf = CacheType::kInt8;
template <>
inline constexpr CacheType kCacheTypeOf<float> = CacheType::kF32;
template <>
inline constexpr CacheType kCacheTypeOf<BFloat16> = CacheType::kBF16;

/// Whether vectors of such elements have scales.
template <typename T>
inline constexpr bool kHasScales = std::is_same_v<T, int8_t>;

/// The numbers of sketches (SketchTypeOf) beside such elements.
template <typename T>
using SketchNumber = std::conditional_t<kHasScales<T>, BFloat16, T>;

/// How the numbers of a vector become integers.
class Rounding {
 public:
  /// The order of magnitudes as integers, in which NaN is the largest.
  FMA_DEVICE static int32_t Magnitude(float number) {
    return std::bit_cast<int32_t>(number) & 0x7FFFFFFF;
  }

  /// `largest` is the largest Magnitude().
  FMA_DEVICE explicit Rounding(int32_t largest) : Rounding(ScaleFor(largest)) {}
  FMA_DEVICE explicit Rounding(BFloat16 scale)
      : scale_(scale), inverse_(ToFloat(scale) > 0 ? 1.0F / ToFloat(scale) : 0.0F) {}

  FMA_DEVICE BFloat16 scale() const { return scale_; }
  FMA_DEVICE int8_t operator()(float number) const {
    return inverse_ > 0 ? static_cast<int8_t>(std::rint(number * inverse_)) : int8_t{0};
  }

 private:
  BFloat16 scale_;
  float inverse_;
};

/// A warp writes channel(0) .. channel(count - 1) to `to` and, where such elements have one, the
/// vector's scale. Integers are stored two at a time: `count` is even then.
template <typename T, typename Channel>
FMA_DEVICE void StoreVector(const Channel& channel, int count, T* to, BFloat16* scale) {
  if constexpr (kHasScales<T>) {
    int32_t largest = 0;
    for (int c = LaneIndex(); c < count; c += kWarpSize) {
      const int32_t magnitude = Rounding::Magnitude(channel(c));
      largest = magnitude > largest ? magnitude : largest;
    }
    const Rounding round(WarpMax(largest));
    for (int c = 2 * LaneIndex(); c < count; c += 2 * kWarpSize) {
      const int pair = (round(channel(c)) & 0xFF) | (round(channel(c + 1)) & 0xFF) << 8;
      Store(reinterpret_cast<uint16_t*>(to + c), static_cast<uint16_t>(pair));
    }
    if (LaneIndex() == 0) Store(scale, round.scale());
  } else {
    for (int c = LaneIndex(); c < count; c += kWarpSize) Store(to + c, FromFloat<T>(channel(c)));
  }
}

/// A warp copies `count` elements; of integers an even number.
template <typename T>
FMA_DEVICE void CopyVector(const T* from, int count, T* to) {
  using Piece = std::conditional_t<kHasScales<T>, uint16_t, T>;
  constexpr int kElements = sizeof(Piece) / sizeof(T);
  for (int c = kElements * LaneIndex(); c < count; c += kElements * kWarpSize) {
    Store(reinterpret_cast<Piece*>(to + c), Load(reinterpret_cast<const Piece*>(from + c)));
  }
}

/// Of a vector whose scale lies at `scale`; 1 where elements have none.
template <typename T>
FMA_DEVICE float LoadScale(const BFloat16* scale) {
  if constexpr (kHasScales<T>) return ToFloat(Load(scale));
  return 1.0F;
}

}  // namespace fmaserver::kernels::cuda
