// The CPU backend: portable SIMD with run-time dispatch, float32 arithmetic throughout.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace fmaserver::kernels {

/// `threads` 1..1024, or 0 for one per core. INVALID_ARGUMENT otherwise. `use_tiles`: also the
/// processor's matrix tiles, where it has them.
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(int threads, bool use_tiles = true);

}  // namespace fmaserver::kernels
