// The CPU backend: portable SIMD with run-time dispatch, float32 arithmetic throughout.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace fmaserver::kernels {

/// Threads that several backends may share. Their steps then take turns, in the order in which they
/// begin, so that each has all threads and the machine never more than it has cores for.
class CpuThreads;

/// `threads` 1..1024, or 0 for one per core. INVALID_ARGUMENT otherwise.
absl::StatusOr<std::shared_ptr<CpuThreads>> MakeCpuThreads(int threads);

/// `use_tiles`: also the processor's matrix tiles, where it has them.
std::unique_ptr<Backend> MakeCpuBackend(std::shared_ptr<CpuThreads> threads, bool use_tiles = true);

/// A backend with threads of its own, as MakeCpuThreads takes them.
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(int threads, bool use_tiles = true);

}  // namespace fmaserver::kernels
