// What the host tells the device about one step: ids, segments, rows to gather. It is collected
// while a step is recorded, and uploaded in one piece before the step runs. Two steps that put the
// same sizes in the same order get the same addresses, so a graph that was captured with them can
// be launched again.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/runtime/runtime.h"

namespace fmaserver::kernels::cuda {

class StepData {
 public:
  /// Takes `values`, followed by zeros up to `count` elements; returns where they will be in device
  /// memory. RESOURCE_EXHAUSTED.
  template <typename T>
  absl::StatusOr<const T*> Put(std::span<const T> values, int64_t count) {
    const absl::StatusOr<Range> range = Take(count * static_cast<int64_t>(sizeof(T)));
    if (!range.ok()) return range.status();
    std::memset(range->host, 0, static_cast<size_t>(count) * sizeof(T));
    if (!values.empty()) std::memcpy(range->host, values.data(), values.size_bytes());
    return reinterpret_cast<const T*>(range->device);
  }

  /// Enqueues the copy of everything that was put since Clear().
  absl::Status Upload(Stream& stream) const;

  /// Forgets what was put; nothing that reads it may still be running. Returns whether addresses
  /// changed, which makes graphs captured with the old ones invalid.
  bool Clear();

 private:
  struct Range {
    std::byte* host = nullptr;
    std::byte* device = nullptr;
  };
  struct Block {
    Memory host;  // pinned
    Memory device;
    int64_t used = 0;
  };

  absl::StatusOr<Range> Take(int64_t bytes);

  std::vector<Block> blocks_;  // one, or more until the Clear() after a step that was too large
  int64_t next_bytes_ = int64_t{64} << 10;
};

}  // namespace fmaserver::kernels::cuda
