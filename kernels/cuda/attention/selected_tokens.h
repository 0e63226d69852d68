// The launches of a layer whose far field is of selected tokens.
#pragma once

#include "absl/status/status.h"
#include "kernels/cuda/attention/prefill_head.h"
#include "kernels/cuda/runtime/runtime.h"

namespace fmaserver::kernels::cuda {

/// Decode rows take two launches, and every wave of slices three or four; each takes four more
/// where units are opened, and one more where rows report how they divide their attention.
absl::Status LaunchSelectedTokens(Stream& stream, const PrefillParameters& parameters);

}  // namespace fmaserver::kernels::cuda
