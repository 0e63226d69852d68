// Launches on a GPU; see launch.h.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "absl/status/status.h"

namespace fmaserver::kernels::cuda {

/// How many blocks of a kernel one multiprocessor must be able to hold: its kMinBlocks, or 1.
template <typename Kernel>
constexpr int MinBlocks() {
  if constexpr (requires { Kernel::kMinBlocks; }) {
    return Kernel::kMinBlocks;
  } else {
    return 1;
  }
}

template <typename Kernel>
__global__ __launch_bounds__(Kernel::kThreads, MinBlocks<Kernel>()) void RunKernel(
    const __grid_constant__ Kernel kernel) {
  kernel();
}

absl::Status LaunchError(const char* name, cudaError_t error);

template <typename Kernel>
absl::Status Launch(Stream& stream, const LaunchShape& shape, const Kernel& kernel) {
  if (absl::Status status = CheckShape(Kernel::kName, shape); !status.ok()) return status;
  if (shape.blocks_x == 0 || shape.blocks_y == 0) return absl::OkStatus();
  constexpr int64_t kSharedWithoutAsking = 48 * 1024;
  if (shape.shared_bytes > kSharedWithoutAsking) {
    const cudaError_t error =
        cudaFuncSetAttribute(RunKernel<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shape.shared_bytes));
    if (error != cudaSuccess) return LaunchError(Kernel::kName, error);
  }
  const dim3 grid(static_cast<unsigned>(shape.blocks_x), static_cast<unsigned>(shape.blocks_y));
  RunKernel<Kernel>
      <<<grid, Kernel::kThreads, shape.shared_bytes, static_cast<cudaStream_t>(stream.handle())>>>(
          kernel);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? absl::OkStatus() : LaunchError(Kernel::kName, error);
}

}  // namespace fmaserver::kernels::cuda
