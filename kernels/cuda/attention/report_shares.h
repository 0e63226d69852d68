// The launches that tell how rows divide their attention (Segment::attention_shares).
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/cuda/attention/open_notes.h"
#include "kernels/cuda/attention/prefill_head.h"
#include "kernels/cuda/runtime/runtime.h"

namespace fmaserver::kernels::cuda {

/// Adds the shares of `count` rows to the plan's `shares`, where somebody wants them: one launch or
/// none. Rows of selected tokens have been attended to; of others the slots are as before them.
absl::Status LaunchShareReport(Stream& stream, const OpenParameters& parameters, int64_t count,
                               float* shares);

/// The same for the last rows of all slices, once what they add is in the scratch and before their
/// slots take it.
absl::Status LaunchShareReport(Stream& stream, const PrefillParameters& parameters);

}  // namespace fmaserver::kernels::cuda
