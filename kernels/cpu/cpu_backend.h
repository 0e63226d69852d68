// The CPU backend: portable SIMD with run-time dispatch. Arithmetic is in float32, but
// weights that are integers in blocks are multiplied as such.
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

/// With `use_extensions` products also use what the processor may have beside its set of vector
/// instructions: matrix tiles and AVX-512 VNNI.
std::unique_ptr<Backend> MakeCpuBackend(std::shared_ptr<CpuThreads> threads,
                                        bool use_extensions = true);

/// A backend with its own threads (see MakeCpuThreads).
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(int threads, bool use_extensions = true);

}  // namespace fmaserver::kernels
