// The CPU backend: portable SIMD with run-time dispatch. Arithmetic is in float32, but
// weights that are integers in blocks are multiplied as such.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/extensions.h"

namespace fmaserver::kernels {

/// Threads that several backends may share. Their steps then take turns, in the order in which they
/// begin, so that each step has all threads and there are never more threads than cores.
class CpuThreads;

/// `threads` is 1..1024, or 0 for one per core; else INVALID_ARGUMENT.
absl::StatusOr<std::shared_ptr<CpuThreads>> MakeCpuThreads(int threads);

/// Products use `extensions`, which the processor must have.
std::unique_ptr<Backend> MakeCpuBackend(
    std::shared_ptr<CpuThreads> threads,
    const cpu::Extensions& extensions = cpu::Extensions::OfProcessor());

/// A backend with its own threads (see MakeCpuThreads).
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(
    int threads, const cpu::Extensions& extensions = cpu::Extensions::OfProcessor());

}  // namespace fmaserver::kernels
