// Rounding plain weights to integers in blocks, on vectors: most of the work of loading a model
// that is rounded. The rules are those of docs/model.md, "Rounding a weight"; every instruction set
// gives the same bits, which are those of fma-convert.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/host/quantise.h"

namespace fmaserver::kernels {

/// The farthest from 0 that a number to be rounded to `kind` may be.
float LargestFor(BlockKind kind);

/// Rounds row `row` of a plain weight to `blocks`, BlocksOfRow(weight.cols) of them. Returns the
/// first block with a number that is not finite or above LargestFor(kind), where it stops, or -1.
int64_t RoundPlainRow(const HostMatrix& weight, int64_t row, BlockKind kind, WeightBlock* blocks);

}  // namespace fmaserver::kernels
