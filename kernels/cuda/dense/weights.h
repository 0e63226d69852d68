// Weights in device memory, and how they get there.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "absl/functional/function_ref.h"
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

  /// Writes pieces [first, first + count) to memory of zeros.
  using Fill = absl::FunctionRef<absl::Status(int64_t first, int64_t count, std::byte* to)>;
  /// Writes `count` pieces of `piece_bytes` bytes to `to`, so many at once as there is room for.
  absl::Status Pieces(int64_t count, int64_t piece_bytes, std::byte* to, Fill fill);

  /// Device memory with `from` as float32, without gaps.
  absl::StatusOr<Memory> Floats(const HostMatrix& from);

 private:
  Stream& stream_;
  Memory block_;  // pinned
};

class PackedLinear : public LinearWeights {
 public:
  /// All parts share `in`; they keep their format, or become float32 if they differ. Integers in
  /// blocks stay such; with `integers` the other parts are rounded to them (KindFor()).
  static absl::StatusOr<std::unique_ptr<PackedLinear>> Pack(std::span<const HostLinear> stacked,
                                                            std::optional<WeightFormat> integers,
                                                            Uploader& uploader);
  DeviceWeight view;

 private:
  absl::Status Allocate(int64_t bytes);
  absl::Status PackPlain(std::span<const HostLinear> stacked, WeightFormat format,
                         Uploader& uploader);
  absl::Status PackIntegers(std::span<const HostLinear> stacked, std::optional<WeightFormat> format,
                            Uploader& uploader);
  absl::Status PackBias(std::span<const HostLinear> stacked, Uploader& uploader);

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
