// Copies between ordinary host memory and the device, through pinned memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/runtime/runtime.h"

namespace fmaserver::kernels::cuda {

class Transfer {
 public:
  /// With `bytes` of pinned memory, which is how much is copied at once. RESOURCE_EXHAUSTED.
  static absl::StatusOr<Transfer> Create(int64_t bytes);

  /// Both come after what is in `stream`, and wait. One thread at a time.
  absl::Status Out(Stream& stream, const std::byte* from, std::span<std::byte> out) const;
  absl::Status In(Stream& stream, std::span<const std::byte> in, std::byte* to) const;

 private:
  Memory pinned_;
};

}  // namespace fmaserver::kernels::cuda
