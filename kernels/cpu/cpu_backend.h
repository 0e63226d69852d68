// The CPU backend: portable SIMD with run-time dispatch, float32 arithmetic throughout.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace fmaserver::kernels {

/// Threads that several backends may share. Their steps then take turns, in the order in which they
/// begin, so that each step has all threads and there are never more threads than cores.
class CpuThreads;

/// `threads` is 1..1024, or 0 for one per core; else INVALID_ARGUMENT.
absl::StatusOr<std::shared_ptr<CpuThreads>> MakeCpuThreads(int threads);

/// With `use_tiles` it also uses the processor's matrix tiles, where there are any.
std::unique_ptr<Backend> MakeCpuBackend(std::shared_ptr<CpuThreads> threads, bool use_tiles = true);

/// A backend with its own threads (see MakeCpuThreads).
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(int threads, bool use_tiles = true);

}  // namespace fmaserver::kernels
