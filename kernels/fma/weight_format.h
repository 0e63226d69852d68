// How a checkpoint stores the numbers of a weight.
#pragma once

#include <cstdint>
#include <string_view>

namespace fmaserver::kernels {

/// The last two are integers in blocks of kWeightBlock inputs, each block with a float16 scale:
/// kInt8 scale * code. kInt4 scale * (code - 8), or scale * code + minimum where blocks have minima
/// too; a byte has two codes, and the 16 bytes of a block have the first 16 in their lower halves
/// and the others in their upper halves.
enum class WeightFormat : uint8_t { kF32, kF16, kBF16, kInt8, kInt4 };

/// Inputs of a block of integers.
inline constexpr int64_t kWeightBlock = 32;

constexpr bool InBlocks(WeightFormat format) {
  return format == WeightFormat::kInt8 || format == WeightFormat::kInt4;
}

/// Bytes of one number, but of kInt4: of two.
constexpr int64_t SizeOf(WeightFormat format) {
  if (InBlocks(format)) return 1;
  return format == WeightFormat::kF32 ? 4 : 2;
}

/// Bytes of a row of so many numbers; of kInt4 they are whole blocks.
constexpr int64_t RowBytes(WeightFormat format, int64_t numbers) {
  return format == WeightFormat::kInt4 ? numbers / 2 : numbers * SizeOf(format);
}

/// The name that checkpoints use.
constexpr std::string_view NameOf(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return "F32";
    case WeightFormat::kF16:
      return "F16";
    case WeightFormat::kBF16:
      return "BF16";
    case WeightFormat::kInt8:
      return "I8";
    case WeightFormat::kInt4:
      return "U8";
  }
  return "";
}

}  // namespace fmaserver::kernels
