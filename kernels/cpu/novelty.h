// How unlike the others each key of a fine group is: its leverage, which decides with selected
// tokens. docs/model.md, "Selected tokens".
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/cpu/aligned.h"
#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels::cpu {

/// A group's keys, and what it takes to find their novelty, in float64. Whichever is less, the
/// tokens m or the channels d, is the size n of the matrix that is factorised.
struct NoveltyScratch {
  /// Rows are padded to this, and so is n.
  static constexpr int64_t kPad = 8;

  NoveltyScratch() = default;
  NoveltyScratch(int64_t group_tokens, int64_t head_dim)
      : tokens(group_tokens),
        dim(head_dim),
        key_stride(SlotLayout::RoundUp(tokens, kPad)),
        size(SlotLayout::RoundUp(std::min(tokens, dim), kPad)),
        length(SlotLayout::RoundUp(std::max(tokens, dim), kPad)),
        keys(AllocateAligned<double>(dim * key_stride)),
        rows(AllocateAligned<double>(size * length)),
        matrix(AllocateAligned<double>(size * (size + key_stride))),
        novelty(static_cast<size_t>(tokens)) {}

  int64_t tokens = 0;           ///< m
  int64_t dim = 0;              ///< d
  int64_t key_stride = 0;       ///< m, padded
  int64_t size = 0;             ///< n, padded
  int64_t length = 0;           ///< the larger of m and d, padded
  AlignedArray<double> keys;    ///< [d, key_stride]: a column is a key; set by the caller
  AlignedArray<double> rows;    ///< [size, length]
  AlignedArray<double> matrix;  ///< [size, size + key_stride]
  std::vector<float> novelty;   ///< [m]
};

/// Sets scratch.novelty of scratch.keys, which are used up. It is rounded so that equal keys are
/// equals; one rotation of all keys changes nothing.
void FindNovelty(NoveltyScratch& scratch);

}  // namespace fmaserver::kernels::cpu
