// Products of few rows with bfloat16 weights, on tensor cores: bound by the bandwidth with which
// the weights arrive, and as exact as float32.
//
// A float32 input is the exact sum of three bfloat16 numbers, and their products with a bfloat16
// weight are exact in float32. So three bfloat16 products with float32 sums replace one float32
// product. A block takes kOutputs outputs of up to kRows rows; its warps divide the inputs among
// themselves in rounds of kDepth pieces, all of which are requested, with the inputs, before the
// first is used. A lane's piece is 16 neighbouring bytes of a weight row. The order of inputs does
// not matter to a sum, so the bytes become fragments as they lie. Every sum is in one fixed order,
// and what a tensor core does to a row does not depend on the other rows, so neither does a result.
#pragma once

#include <cstdint>

#include "kernels/cuda/dense/linear_parameters.h"
#include "kernels/cuda/runtime/tensor_core.h"

namespace fmaserver::kernels::cuda {

/// Grid: Blocks().
template <bool kNorms>
struct TensorLinearKernel : LinearParameters<BFloat16> {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 3;
  static constexpr const char* kName = "linear";
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr int kRows = 8;
  static constexpr int kOutputs = 16;
  static constexpr int kVec = kVector<BFloat16>;
  static constexpr int kPiece = 4 * kVec;  ///< inputs that the four lanes of a row load at once
  static constexpr int kDepth = 2;
  static constexpr int kParts = 3;  ///< bfloat16 numbers whose sum is a float32 number

  static constexpr int64_t SharedMemory() {
    return SharedBytes<float>(kWarps * kRows * kOutputs) + SharedBytes<float>(kWarps * kRows);
  }
  static constexpr int64_t Blocks(int64_t out) { return (out + kOutputs - 1) / kOutputs; }

  FMA_DEVICE void operator()() const {
    SharedArena arena;
    const auto sums = arena.Take<float>(kWarps * kRows * kOutputs);  // [warp, row, output]
    const auto squares = arena.Take<float>(kWarps * kRows);
    Accumulate(sums, squares);
    SyncThreads();
    const int per_row = ResultsOfBlock();
    const int row = ThreadIndex() / per_row;
    const int o = ThreadIndex() % per_row;
    const int64_t column = BlockIndex() * per_row + o;
    if (row >= rows || row >= kRows || column >= Results()) return;
    float scale = 1;
    if constexpr (kNorms) scale = NormScale(OverWarps(squares, row, kRows));
    const float sum = OverWarps(sums, row * kOutputs + o, kRows * kOutputs);
    const float partner =
        IsGated() ? OverWarps(sums, row * kOutputs + per_row + o, kRows * kOutputs) : 0.0F;
    StoreResult(row, column, sum * scale, partner * scale);
  }

 private:
  using Pairs = Vec<uint32_t, 4>;  // eight neighbouring bfloat16 weights, the lower in the low half

  FMA_DEVICE int ResultsOfBlock() const { return IsGated() ? kOutputs / 2 : kOutputs; }

  FMA_DEVICE static float OverWarps(const Shared<float>& of, int first, int stride) {
    float sum = 0;
    FMA_UNROLL
    for (int warp = 0; warp < kWarps; ++warp) sum += of.Get(first + warp * stride);
    return sum;
  }

  /// Computes the warp's share of every sum, and of every row's squares.
  FMA_DEVICE void Accumulate(const Shared<float>& sums, const Shared<float>& squares) const {
    const int g = LaneIndex() / 4;
    const int t = LaneIndex() % 4;
    const int per = ResultsOfBlock();
    const int64_t first_out = BlockIndex() * per;
    const BFloat16* low = weight + WeightRow(first_out, per, g) * pitch;
    const BFloat16* high = weight + WeightRow(first_out, per, g + 8) * pitch;
    FragmentC sum[kParts];
    float square = 0;
    constexpr int64_t kRound = int64_t{kWarps} * kDepth * kPiece;
    for (int64_t round = WarpIndex() * kDepth * kPiece; round < in; round += kRound) {
      const int64_t first = round + t * kVec;
      float inputs[kDepth][kVec] = {};
      float gains[kNorms ? kDepth : 1][kVec];
      Pairs weights[kDepth][2];
      FMA_UNROLL
      for (int depth = 0; depth < kDepth; ++depth) {
        const int64_t i = first + depth * kPiece;
        weights[depth][0] = LoadWeights(low, i);
        weights[depth][1] = LoadWeights(high, i);
        if (g < rows) LoadInputs(x + g * in, i, inputs[depth]);
        if constexpr (kNorms) LoadInputs(norm, i, gains[depth]);
      }
      FMA_UNROLL
      for (int depth = 0; depth < kDepth; ++depth) {
        if constexpr (kNorms) Normalise(gains[depth], inputs[depth], &square);
        Multiply(weights[depth], inputs[depth], sum);
      }
    }
    FMA_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int at = (WarpIndex() * kRows + 2 * t + i % 2) * kOutputs + g + i / 2 * 8;
      sums.Set(at, sum[0].value[i] + (sum[1].value[i] + sum[2].value[i]));
    }
    if constexpr (kNorms) {
      FMA_UNROLL
      for (int lanes = 1; lanes < 4; lanes *= 2) square += ShuffleXor(square, lanes);
      if (t == 0) squares.Set(WarpIndex() * kRows + g, square);
    }
  }

  FMA_DEVICE Pairs LoadWeights(const BFloat16* row, int64_t i) const {
    return i < in ? LoadConstant(reinterpret_cast<const Pairs*>(row + i)) : Pairs{};
  }

  FMA_DEVICE static void Normalise(const float (&gains)[kVec], float (&inputs)[kVec],
                                   float* square) {
    FMA_UNROLL
    for (int j = 0; j < kVec; ++j) {
      *square += inputs[j] * inputs[j];
      inputs[j] *= gains[j];
    }
  }

  /// Multiplies one piece: two products of 16 inputs for each part of the inputs, which are
  /// overwritten.
  FMA_DEVICE static void Multiply(const Pairs (&weights)[2], float (&inputs)[kVec],
                                  FragmentC (&sum)[kParts]) {
    FMA_UNROLL
    for (int part = 0; part < kParts; ++part) {
      Pairs pairs;
      FMA_UNROLL
      for (int pair = 0; pair < 4; ++pair) {
        float& even = inputs[2 * pair];
        float& odd = inputs[2 * pair + 1];
        pairs.lane[pair] = PackPair(even, odd);
        even -= LowOfPair(pairs.lane[pair]);
        odd -= HighOfPair(pairs.lane[pair]);
      }
      FMA_UNROLL
      for (int half = 0; half < 2; ++half) {
        const FragmentA a = {{weights[0].lane[2 * half], weights[1].lane[2 * half],
                              weights[0].lane[2 * half + 1], weights[1].lane[2 * half + 1]}};
        const FragmentB b = {{pairs.lane[2 * half], pairs.lane[2 * half + 1]}};
        MultiplyAdd(a, b, &sum[part]);
      }
    }
  }
};

}  // namespace fmaserver::kernels::cuda
