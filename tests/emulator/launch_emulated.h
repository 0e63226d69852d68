// Launches in the block emulator; see kernels/cuda/runtime/launch.h.
#pragma once

#include <functional>

#include "absl/status/status.h"

namespace fmaserver::kernels::cuda {

namespace emulator {

/// Puts a kernel into the stream: every thread of every block will run `body`.
absl::Status Enqueue(Stream& stream, const char* name, int threads, const LaunchShape& shape,
                     std::function<void()> body);

}  // namespace emulator

template <typename Kernel>
absl::Status Launch(Stream& stream, const LaunchShape& shape, const Kernel& kernel) {
  if (absl::Status status = CheckShape(Kernel::kName, shape); !status.ok()) return status;
  if (shape.blocks_x == 0 || shape.blocks_y == 0) return absl::OkStatus();
  return emulator::Enqueue(stream, Kernel::kName, Kernel::kThreads, shape, kernel);
}

}  // namespace fmaserver::kernels::cuda
