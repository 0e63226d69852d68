// How likely an encoder finds tokens that are hidden from it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/encoder.h"

namespace fmaserver::eval {

/// -ln p of every token of `window`, each while the model reads its mask token in its place: in
/// pass j of `stride` passes tokens j, j + stride, ... are hidden together, so that a stride of the
/// window's length or more hides one at a time. Short windows' passes are read together.
/// FAILED_PRECONDITION for a model without a mask token; errors of Encoder::Begin.
absl::StatusOr<std::vector<float>> PseudoLosses(engine::Encoder& encoder,
                                                std::span<const int32_t> window, int64_t stride);

}  // namespace fmaserver::eval
