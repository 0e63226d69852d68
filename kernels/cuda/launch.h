// The one way to launch a kernel: explicit stream, checked, in both worlds (see device.h).
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/runtime.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include <functional>
#endif

namespace fmaserver::kernels::cuda {

/// Blocks of Kernel::kThreads threads. Nothing is launched when there are no blocks.
struct LaunchShape {
  int64_t blocks_x = 0;  ///< up to 2^31 - 1
  int64_t blocks_y = 1;  ///< up to 65,535
  int64_t shared_bytes = 0;
};

inline constexpr int64_t kMaxBlocksX = 0x7FFFFFFF;
inline constexpr int64_t kMaxBlocksY = 65535;

inline absl::Status CheckShape(const char* name, const LaunchShape& shape) {
  if (shape.blocks_x >= 0 && shape.blocks_x <= kMaxBlocksX && shape.blocks_y >= 0 &&
      shape.blocks_y <= kMaxBlocksY) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("kernel ", name, ": a grid of ", shape.blocks_x,
                                                 " x ", shape.blocks_y, " blocks; allowed: up to ",
                                                 kMaxBlocksX, " x ", kMaxBlocksY));
}

#ifdef __CUDACC__

/// Blocks of a kernel that one multiprocessor must be able to hold: its kMinBlocks, or 1.
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

#else

namespace emulator {

/// Puts a kernel into the stream: `body` is run by every thread of every block.
absl::Status Enqueue(Stream& stream, const char* name, int threads, const LaunchShape& shape,
                     std::function<void()> body);

}  // namespace emulator

template <typename Kernel>
absl::Status Launch(Stream& stream, const LaunchShape& shape, const Kernel& kernel) {
  if (absl::Status status = CheckShape(Kernel::kName, shape); !status.ok()) return status;
  if (shape.blocks_x == 0 || shape.blocks_y == 0) return absl::OkStatus();
  return emulator::Enqueue(stream, Kernel::kName, Kernel::kThreads, shape, kernel);
}

#endif

}  // namespace fmaserver::kernels::cuda
