// Products with weights that are integers in blocks of kWeightBlock inputs, by integer arithmetic.
//
// The numbers of a row of x are rounded to int8 in blocks of the same inputs: with a the largest
// magnitude of a block, its scale is a / 127 and a code is x * (127 / a), rounded to nearest, of
// ties to even. A block of a row and a block of weights have an exact sum of products of codes, n,
// and codes of the row have the sum s. In float32 then, block by block in order,
//
//   y = fma(n, weight scale * scale of x, y), and with minima y = fma(minimum, scale of x * s, y)
//
// So a result depends on no other row, and is the same on every instruction set with a fused
// multiply-add. A block of x that has a number which is not finite makes NaN; one below 2^-100
// counts as 0.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cpu/extensions.h"
#include "kernels/cpu/linear.h"
#include "kernels/host/rounding.h"

namespace fmaserver::kernels::cpu {

/// A block of a row of x.
struct alignas(16) InputBlock {
  int8_t codes[kWeightBlock];
  float scale;
  float scaled_sum;  ///< scale * sum
  int32_t sum;       ///< of the codes
};

/// The rows of a product's input, rounded; reused from product to product.
class BlockInput {
 public:
  /// Products use what `extensions` has.
  explicit BlockInput(const Extensions& extensions) : extensions_(extensions) {}

  void Round(ThreadPool& pool, Matrix x);

  const Extensions& extensions() const { return extensions_; }
  int64_t row_blocks() const { return row_blocks_; }
  const InputBlock* Row(int64_t row) const { return blocks_.get() + row * row_blocks_; }
  /// How many of `rows` rows, the first ones, are multiplied on tiles.
  int64_t RowsOnTiles(int64_t rows) const;
  /// A worker's memory for the codes of a strip, where there are tiles.
  int8_t* StripCodes(int worker) const { return codes_.get() + worker * StripBytes(); }

 private:
  int64_t StripBytes() const;

  const Extensions extensions_;
  AlignedArray<InputBlock> blocks_;
  int64_t size_ = 0;  // of blocks_
  int64_t row_blocks_ = 0;
  AlignedArray<int8_t> codes_;
  int64_t codes_size_ = 0;
};

/// kStrip outputs of one format, block after block of inputs: the scales [kStrip] of a block, its
/// minima [kStrip] where there are some, and its codes [groups of 4 inputs, kStrip, 4], of kInt8
/// plus 128. A byte of kInt4 has inputs i of group g in its lower and of group g + 4 in its upper
/// half.
struct WeightStrip {
  static constexpr int64_t kStrip = 32;

  std::byte* data = nullptr;
  WeightFormat format = WeightFormat::kInt8;
  bool has_minima = false;
  int64_t first_out = 0;  ///< of the product
  int64_t outs = 0;       ///< at most kStrip; the others are zero

  int64_t CodesOffset() const { return (has_minima ? 2 : 1) * kStrip * SizeOf(WeightFormat::kF16); }
  int64_t BlockBytes() const {
    return kStrip * RowBytes(BlockKind{format, has_minima}, kWeightBlock);
  }
};

/// The first `rows` rows of x times a strip, on tiles of kTileRows rows (strip_on_tiles.h).
struct StripOnTiles {
  const WeightStrip& strip;
  const BlockInput& input;
  int64_t rows = 0;             ///< a multiple of kTileRows
  const float* bias = nullptr;  ///< of the strip; null: none
  bool accumulate = false;
  int8_t* codes = nullptr;  ///< scratch, of a byte for each weight
  Matrix y;                 ///< of the whole product
};

class BlockLinear : public CpuLinear {
 public:
  /// Parts share `in`. Those in blocks keep their bits, each in its format; others are rounded to
  /// KindFor(part, format), and `format` must be there then. Products use `input`.
  /// RESOURCE_EXHAUSTED, or as Quantise().
  static absl::StatusOr<std::unique_ptr<BlockLinear>> Pack(std::span<const HostLinear> stacked,
                                                           std::optional<WeightFormat> format,
                                                           std::shared_ptr<BlockInput> input,
                                                           ForEach for_each);

  void Multiply(ThreadPool& pool, Matrix x, bool accumulate, Matrix y) const override;
  float At(int64_t o, int64_t i) const override;

 private:
  /// Adds the strips of a part, without their data.
  void AddStrips(const HostLinear& part, std::optional<WeightFormat> format, int64_t first_out);
  absl::Status Allocate();

  std::vector<WeightStrip> strips_;
  BlockPart data_;
  std::shared_ptr<BlockInput> input_;
};

}  // namespace fmaserver::kernels::cpu
