// The one way to launch a kernel: explicit stream, checked. FMA_LAUNCH_WORLD names the header that
// launches where FMA_DEVICE_WORLD is not the GPU (see device.h).
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cuda/runtime/device.h"
#include "kernels/cuda/runtime/runtime.h"

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

}  // namespace fmaserver::kernels::cuda

#ifdef FMA_LAUNCH_WORLD
#include FMA_LAUNCH_WORLD
#else
#include "kernels/cuda/runtime/launch_gpu.h"
#endif
