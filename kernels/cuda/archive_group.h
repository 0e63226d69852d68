// Groups of archives: their tokens in the host's memory, their sketches in the device's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/runtime/runtime.h"
#include "kernels/cuda/transfer.h"

namespace fmaserver::kernels::cuda {

class DeviceArchiveGroup : public ArchiveGroup {
 public:
  /// RESOURCE_EXHAUSTED; UNAVAILABLE for `host` that the device cannot reach; INVALID_ARGUMENT when
  /// it does not begin at a multiple of 16 bytes.
  static absl::StatusOr<std::unique_ptr<DeviceArchiveGroup>> Make(int device,
                                                                  const ArchiveLayout& layout,
                                                                  std::span<std::byte> host);
  ~DeviceArchiveGroup() override;

  DeviceGroup view() const { return {mapped_.data(), sketches_.data(), identity_}; }

  /// To be called before the group is written: what was read of it before is not what will be read.
  void Renew();

 private:
  DeviceArchiveGroup(int device, MappedMemory mapped, Memory of_sketches)
      : device_(device), mapped_(std::move(mapped)), sketches_(std::move(of_sketches)) {
    Renew();
  }

  const int device_;
  MappedMemory mapped_;
  Memory sketches_;
  uint64_t identity_ = 0;
};

/// Copies sketches on any thread, beside steps, in a stream of its own.
class SketchCopier {
 public:
  static absl::StatusOr<std::unique_ptr<SketchCopier>> Create(int device);

  absl::Status Save(const ArchiveGroup& group, std::span<std::byte> out);
  absl::Status Restore(std::span<const std::byte> in, ArchiveGroup& group);

 private:
  SketchCopier(int device, std::unique_ptr<Stream> stream, Transfer transfer)
      : device_(device), stream_(std::move(stream)), transfer_(std::move(transfer)) {}

  const int device_;
  std::mutex mutex_;  // guards what follows
  const std::unique_ptr<Stream> stream_;
  const Transfer transfer_;
};

}  // namespace fmaserver::kernels::cuda
