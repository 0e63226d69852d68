// The launches of a layer that opens units. Source: docs/model.md, "Opened units".
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/cuda/attention/open_notes.h"
#include "kernels/cuda/attention/prefill_head.h"
#include "kernels/cuda/runtime/runtime.h"

namespace fmaserver::kernels::cuda {

/// The parameters for `rows` of a launch, cut by `blocks` (null: each is a block), of which the
/// first is number `first_row` of theirs. Without units to open `notes` is null.
OpenParameters OpeningOf(const PrefillParameters& parameters, const DecodeRow* rows,
                         const QueryBlock* blocks, int64_t first_row);

/// Finds what `count` rows, which `blocks` blocks have, open, and what that gives to their softmax:
/// three launches, and with a cache of units one more, for slices two.
absl::Status LaunchOpening(Stream& stream, const OpenParameters& parameters, int64_t count,
                           int64_t blocks);

/// Adds what `count` rows gave to their units to the plan's unit_weights, where somebody wants
/// them: one launch or none.
absl::Status LaunchReport(Stream& stream, const OpenParameters& parameters, int64_t count,
                          float* unit_weights);

/// Writes the groups that leave the near field behind the rows, once they have been attended to:
/// one launch.
absl::Status LaunchArchiving(Stream& stream, const OpenParameters& parameters, int64_t blocks);

}  // namespace fmaserver::kernels::cuda
