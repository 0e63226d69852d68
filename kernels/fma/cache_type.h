// The element type of keys and values in a cache slot.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace fmaserver::kernels {

/// The numbers are part of a saved state's fingerprint: never reuse one.
enum class CacheType : uint8_t { kF32 = 0, kBF16 = 2 };

constexpr int64_t SizeOf(CacheType type) { return type == CacheType::kF32 ? 4 : 2; }

/// The name that flags use.
constexpr std::string_view NameOf(CacheType type) {
  return type == CacheType::kF32 ? "f32" : "bf16";
}

constexpr std::optional<CacheType> CacheTypeNamed(std::string_view name) {
  for (const CacheType type : {CacheType::kF32, CacheType::kBF16}) {
    if (name == NameOf(type)) return type;
  }
  return std::nullopt;
}

}  // namespace fmaserver::kernels
