// The definition of selected tokens in float64, one token after the other, straight from
// docs/model.md, "Selected tokens" and "Opened units".
#pragma once

#include <vector>

#include "tests/kernels/reference.h"

namespace fmaserver::testing {

/// What a layer that selects tokens gives: the rows before the first choice that rounding could
/// turn, where two right implementations may part; all when there is none.
ReferenceRows EvaluateSelected(const ReferenceAttention& layer, const std::vector<float>& qkv);

}  // namespace fmaserver::testing
