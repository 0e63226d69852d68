// The device memory behind DeviceUnitCache.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/attention/unit_cache.h"
#include "kernels/cuda/runtime/runtime.h"
#include "kernels/fma/archive_layout.h"

namespace fmaserver::kernels::cuda {

class UnitCache {
 public:
  /// Of at most `bytes`; null when these are too few for one set of every KV head.
  /// RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<UnitCache>> Create(int device, const ArchiveLayout& layout,
                                                           int64_t bytes);

  /// What its lines hold are units of archives laid out like this.
  const ArchiveLayout& layout() const { return layout_; }
  const DeviceUnitCache& view() const { return view_; }
  int64_t bytes() const { return lines_.bytes() + numbers_.bytes(); }

  /// Any thread, beside steps.
  absl::StatusOr<UnitReads> Reads();

 private:
  UnitCache(int device, const ArchiveLayout& layout, const DeviceUnitCache& view, Memory lines,
            Memory numbers, Memory reads_on_host, std::unique_ptr<Stream> stream)
      : device_(device),
        layout_(layout),
        view_(view),
        lines_(std::move(lines)),
        numbers_(std::move(numbers)),
        reads_on_host_(std::move(reads_on_host)),
        stream_(std::move(stream)) {}

  const int device_;
  const ArchiveLayout layout_;
  const DeviceUnitCache view_;
  const Memory lines_;
  const Memory numbers_;  // keys, uses, clocks, reads
  std::mutex mutex_;      // guards what follows
  const Memory reads_on_host_;
  const std::unique_ptr<Stream> stream_;
};

}  // namespace fmaserver::kernels::cuda
