// Weights in device memory, and how they get there.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/dense/dense.h"
#include "kernels/cuda/runtime/runtime.h"

namespace fmaserver::kernels::cuda {

/// Copies host matrices to the device through one block of pinned memory; each call waits.
class Uploader {
 public:
  explicit Uploader(Stream& stream) : stream_(stream) {}

  /// Writes the rows of `from` as `format` (its own, or kF32), `pitch` elements apart with zeros
  /// between, to `to`.
  absl::Status Rows(const HostMatrix& from, WeightFormat format, int64_t pitch, std::byte* to);

  /// Device memory with `from` as float32, without gaps.
  absl::StatusOr<Memory> Floats(const HostMatrix& from);

 private:
  Stream& stream_;
  Memory block_;  // pinned
};

class PackedLinear : public LinearWeights {
 public:
  /// All parts share `in`; they keep their format, or become float32 if they differ.
  static absl::StatusOr<std::unique_ptr<PackedLinear>> Pack(std::span<const HostLinear> stacked,
                                                            Uploader& uploader);
  DeviceWeight view;

 private:
  Memory data_;
  Memory bias_;
};

class PackedNorm : public NormWeights {
 public:
  static absl::StatusOr<std::unique_ptr<PackedNorm>> Pack(const HostNorm& norm, Uploader& uploader);
  DeviceNormWeight view;

 private:
  Memory weight_;
  Memory bias_;
};

}  // namespace fmaserver::kernels::cuda
