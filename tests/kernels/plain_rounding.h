// Rounding to integers in blocks as docs/model.md defines it, number by number.
#pragma once

#include <span>

#include "kernels/host/quantise.h"

namespace fmaserver::testing {

/// Of up to kWeightBlock numbers, all of which `kind` can hold.
kernels::WeightBlock PlainRounding(std::span<const float> numbers, kernels::BlockKind kind);

}  // namespace fmaserver::testing
