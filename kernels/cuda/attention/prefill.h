// The launches of a layer's prefill.
#pragma once

#include "absl/status/status.h"
#include "kernels/cuda/attention/prefill_head.h"
#include "kernels/cuda/runtime/runtime.h"

namespace fmaserver::kernels::cuda {

/// `parameters.plan` has segments.
absl::Status LaunchPrefill(Stream& stream, const PrefillParameters& parameters);

}  // namespace fmaserver::kernels::cuda
