// How a checkpoint stores the numbers of a weight.
#pragma once

#include <cstdint>
#include <string_view>

namespace fmaserver::kernels {

enum class WeightFormat : uint8_t { kF32, kF16, kBF16 };

/// Bytes of one number.
constexpr int64_t SizeOf(WeightFormat format) { return format == WeightFormat::kF32 ? 4 : 2; }

/// The name that checkpoints use.
constexpr std::string_view NameOf(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return "F32";
    case WeightFormat::kF16:
      return "F16";
    case WeightFormat::kBF16:
      return "BF16";
  }
  return "";
}

}  // namespace fmaserver::kernels
