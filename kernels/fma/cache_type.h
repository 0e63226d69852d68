// The element type of keys and values in a cache slot, and in the archive beside it.
//
// Integers stand for multiples of a scale, of which every key and every value has its own. The
// scale is the least bfloat16 not below 1/127 of the largest magnitude in the vector, and each
// number is the nearest multiple of it, of ties the even one. A vector with a number that is not
// finite has the scale NaN; one of numbers too small for a scale has the scale 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace fmaserver::kernels {

/// The numbers are part of a saved state's fingerprint: never reuse one.
enum class CacheType : uint8_t { kF32 = 0, kBF16 = 2, kInt8 = 3 };

constexpr int64_t SizeOf(CacheType type) {
  switch (type) {
    case CacheType::kF32:
      return 4;
    case CacheType::kBF16:
      return 2;
    case CacheType::kInt8:
      return 1;
  }
  return 0;
}

/// Bytes of a vector's scale.
constexpr int64_t ScaleSize(CacheType type) { return type == CacheType::kInt8 ? 2 : 0; }

/// Bytes of a key or a value of `dim` numbers.
constexpr int64_t VectorBytes(CacheType type, int64_t dim) {
  return dim * SizeOf(type) + ScaleSize(type);
}

/// What sketches of units are written in: they are no vectors that one scale would fit.
constexpr CacheType SketchTypeOf(CacheType type) {
  return type == CacheType::kInt8 ? CacheType::kBF16 : type;
}

/// Whether tokens that leave a slot of type `slot` may be kept as `tokens`: in no more bytes.
constexpr bool CanArchive(CacheType slot, CacheType tokens) {
  return SizeOf(tokens) <= SizeOf(slot);
}

/// The name that flags use.
constexpr std::string_view NameOf(CacheType type) {
  switch (type) {
    case CacheType::kF32:
      return "f32";
    case CacheType::kBF16:
      return "bf16";
    case CacheType::kInt8:
      return "int8";
  }
  return "";
}

constexpr std::optional<CacheType> CacheTypeNamed(std::string_view name) {
  for (const CacheType type : {CacheType::kF32, CacheType::kBF16, CacheType::kInt8}) {
    if (name == NameOf(type)) return type;
  }
  return std::nullopt;
}

}  // namespace fmaserver::kernels
