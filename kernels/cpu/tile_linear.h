// Products with bfloat16 weights on the processor's matrix tiles (Intel AMX), as exact as float32.
//
// A tile product multiplies bfloat16 and adds up in float32. An input is cut into three parts of 8
// bits, high, middle and low: bfloat16 numbers that add up to it exactly. They are three rows of a
// tile, so every product is exact, and only the sums round, as they do in float32 arithmetic. One
// instruction does the work of 80 vector operations.
//
// Each part's sum is one chain over chunks of 32 inputs, and then the three sums are added. Rows of
// a tile never mix.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/cpu/extensions.h"
#include "kernels/cpu/linear.h"
#include "kernels/fma/element.h"

namespace fmaserver::kernels::cpu {

/// The rows of a product's input, cut up and tiled; reused from product to product.
class TileInput {
 public:
  /// `extensions` has tiles for bfloat16.
  explicit TileInput(const Extensions& extensions) : extensions_(extensions) {}

  static constexpr int64_t kParts = 3;
  static constexpr int64_t kRows = 5;     ///< of a block, whose parts are the rows of a tile
  static constexpr int64_t kInputs = 32;  ///< of a chunk
  static constexpr int64_t kTile = 16 * kInputs;

  static constexpr int64_t Chunks(int64_t in) { return (in + kInputs - 1) / kInputs; }

  void Cut(ThreadPool& pool, Matrix x);

  /// The tiles [chunks, kTile] of rows [block * kRows, ...): rows of kInputs, the parts of a row of
  /// x after each other.
  const BFloat16* Block(int64_t block) const { return tiles_.get() + block * block_size_; }
  const Extensions& extensions() const { return extensions_; }

 private:
  const Extensions extensions_;
  AlignedArray<BFloat16> tiles_;
  int64_t size_ = 0;  // of tiles_
  int64_t block_size_ = 0;
};

/// Stripes of 32 outputs times all rows of x (stripes_on_tiles.h).
struct StripesOnTiles {
  const TileInput& input;
  const BFloat16* weights = nullptr;  ///< [stripes, chunks, 2, TileInput::kTile]
  int64_t chunks = 0;
  int64_t first = 0;
  int64_t end = 0;
  int64_t out = 0;
  const float* bias = nullptr;  ///< [out], readable for whole stripes; null: none
  bool accumulate = false;
  Matrix y;
};

class TileLinear : public CpuLinear {
 public:
  static constexpr int64_t kOutputs = 16;           ///< of a tile of weights
  static constexpr int64_t kStripe = 2 * kOutputs;  ///< outputs that are summed together

  /// All parts are bfloat16 and share `in`. Products use `input`. RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<TileLinear>> Pack(std::span<const HostLinear> stacked,
                                                          std::shared_ptr<TileInput> input,
                                                          ForEach for_each);

  void Multiply(ThreadPool& pool, Matrix x, bool accumulate, Matrix y) const override;
  float At(int64_t o, int64_t i) const override { return ToFloat(Tiles()[Index(o, i)]); }

 private:
  int64_t Stripes() const;
  /// The place of W[o, i] in [stripes of 32 outputs, chunks of 32 inputs, tiles of 16 outputs,
  /// pairs of inputs, outputs, 2].
  int64_t Index(int64_t o, int64_t i) const;
  BFloat16* Tiles() const { return reinterpret_cast<BFloat16*>(data_.get()); }

  int64_t chunks_ = 0;
  BlockPart data_;  // outputs past `out` and inputs past `in` are zero
  std::shared_ptr<TileInput> input_;
};

}  // namespace fmaserver::kernels::cpu
