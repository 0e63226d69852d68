// How weights that are integers in blocks, and inputs that were rounded to such, lie in device
// memory: as the tensor core wants them (BytesA and BytesB of runtime/tensor_core.h), whose sum
// over 32 inputs is that of a block. A warp loads them in whole pieces of 16 bytes a lane.
//
// Weights are strips of 16 outputs, inputs tiles of 8 rows. Both are units of two blocks, one after
// the other along the inputs; the last block may be one of zeros.
//
//   of a strip    codes   kInt8 [2 blocks, 32 lanes, 16]: a lane's BytesA
//                         kInt4 [32 lanes, 2 blocks, 2, 4]: four bytes of output g, four of g + 8;
//                         a byte has inputs i in its lower and 16 + i in its upper half
//                 scales  [8, 2 blocks, 2] float16: of outputs g and g + 8
//                 minima  the same, where there are some
//   of a tile     codes   [32 lanes, 2 blocks, 8]: a lane's BytesB
//                 scales  [4, 2 blocks, 2] float32: of rows 2t and 2t + 1
//                 sums    the same of int32: of a row's codes
#pragma once

#include <cstdint>

#include "kernels/fma/weight_format.h"

namespace fmaserver::kernels::cuda {

inline constexpr int kUnitBlocks = 2;

/// Units of a row of `in` inputs.
constexpr int64_t UnitsOf(int64_t in) {
  return (in + kUnitBlocks * kWeightBlock - 1) / (kUnitBlocks * kWeightBlock);
}

/// A unit of a strip; all in bytes.
struct StripUnit {
  static constexpr int kOutputs = 16;
  static constexpr int64_t kHalvesBytes = int64_t{kOutputs} * kUnitBlocks * 2;

  WeightFormat format = WeightFormat::kInt8;
  bool has_minima = false;

  constexpr int64_t ScalesOffset() const {
    return kOutputs * RowBytes(format, kUnitBlocks * kWeightBlock);
  }
  constexpr int64_t MinimaOffset() const { return ScalesOffset() + kHalvesBytes; }
  constexpr int64_t Bytes() const { return MinimaOffset() + (has_minima ? kHalvesBytes : 0); }

  /// The byte that has the code of output `out` (of the strip) and input `i` of block `block` (of
  /// the unit).
  constexpr int64_t CodeOffset(int64_t out, int64_t block, int64_t i) const {
    const int64_t lane = out % 8 * 4 + i % 16 / 4;
    const int64_t high = out / 8;
    return format == WeightFormat::kInt8 ? block * 512 + lane * 16 + (high + i / 16 * 2) * 4 + i % 4
                                         : lane * 16 + block * 8 + high * 4 + i % 4;
  }
  /// A block's float16 among the scales, or among the minima.
  static constexpr int64_t HalfOffset(int64_t out, int64_t block) {
    return (out % 8 * kUnitBlocks + block) * 4 + out / 8 * 2;
  }
  /// Strips of `out` outputs.
  static constexpr int64_t Strips(int64_t out) { return (out + kOutputs - 1) / kOutputs; }

  constexpr bool operator==(const StripUnit&) const = default;
};

/// A unit of a tile; all in bytes.
struct TileUnit {
  static constexpr int kRows = 8;
  static constexpr int64_t kScalesOffset = kRows * kUnitBlocks * kWeightBlock;
  static constexpr int64_t kSumsOffset = kScalesOffset + kRows * kUnitBlocks * 4;
  static constexpr int64_t kBytes = kSumsOffset + kRows * kUnitBlocks * 4;

  /// Four codes, of inputs [i, i + 4) of a block.
  static constexpr int64_t CodesOffset(int64_t row, int64_t block, int64_t i) {
    return (row * 4 + i % 16 / 4) * 16 + block * 8 + i / 16 * 4;
  }
  /// A block's number among the scales, or among the sums.
  static constexpr int64_t NumberOffset(int64_t row, int64_t block) {
    return ((row / 2 * kUnitBlocks + block) * 2 + row % 2) * 4;
  }
  static constexpr int64_t Tiles(int64_t rows) { return (rows + kRows - 1) / kRows; }
};

/// Bytes of `rows` rounded rows of `in` inputs.
constexpr int64_t TilesBytes(int64_t rows, int64_t in) {
  return TileUnit::Tiles(rows) * UnitsOf(in) * TileUnit::kBytes;
}

}  // namespace fmaserver::kernels::cuda
