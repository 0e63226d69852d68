// Element types of weights and of cache slots.
#pragma once

#include <cstdint>
#include <string_view>

namespace fmaserver::kernels {

enum class DType : uint8_t { kF32, kF16, kBF16 };

constexpr int64_t SizeOf(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

/// The name that checkpoints and flags use: "F32", "F16", "BF16".
constexpr std::string_view NameOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
  }
  return "";
}

}  // namespace fmaserver::kernels
