// Launchers of the dense operations. All pointers are device memory. Each launcher enqueues, and
// reports only errors of the launch itself.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "kernels/cuda/runtime/runtime.h"

namespace fmaserver::kernels::cuda {

/// A weight [out, in] in device memory. Rows are `pitch` elements apart, a multiple of 16 bytes,
/// with zeros from `in` on; integers in blocks lie as integer_layout.h says. Does not own.
struct DeviceWeight {
  const void* data = nullptr;
  const float* bias = nullptr;  ///< [out]; null: none
  WeightFormat format = WeightFormat::kF32;
  int64_t out = 0;
  int64_t in = 0;
  int64_t pitch = 0;
  bool has_minima = false;  ///< integers in blocks only

  bool operator==(const DeviceWeight&) const = default;
};

struct DeviceNormWeight {
  const float* weight = nullptr;  ///< [D]
  const float* bias = nullptr;    ///< [D]; null: none
  float eps = 0;
  NormKind kind = NormKind::kRmsNorm;

  bool operator==(const DeviceNormWeight&) const = default;
};

/// The most rows that LaunchLinear takes.
inline constexpr int64_t kFewRows = 8;

/// See Backend::Linear. The other members are operations before and after the product, done in the
/// same pass: for up to kFewRows rows, and what comes before also for integers in blocks.
struct LinearOperation {
  Matrix x;
  DeviceWeight weights;
  bool accumulate = false;
  Matrix y;
  const float* norm = nullptr;  ///< not null: x is RMS-normalised with these weights first
  float norm_eps = 0;
  bool activates = false;  ///< y is activated, and has the columns of Backend::Activate's `out`
  /// Integers in blocks only: x is activated first, and has the columns of Activate's `in`.
  bool activates_x = false;
  MlpKind activation = MlpKind::kGelu;

  bool operator==(const LinearOperation&) const = default;
};

absl::Status LaunchEmbed(Stream& stream, const int64_t* ids, const DeviceWeight& table,
                         bool accumulate, Matrix x);
absl::Status LaunchNorm(Stream& stream, Matrix x, const DeviceNormWeight& weights, Matrix out);
/// Not for integers in blocks, which have launchers of their own (integers.h).
absl::Status LaunchLinear(Stream& stream, const LinearOperation& operation);
absl::Status LaunchActivate(Stream& stream, MlpKind kind, Matrix in, Matrix out);
absl::Status LaunchGather(Stream& stream, Matrix x, const int32_t* rows, Matrix out);
/// Rounds x to `format` (not kF32) into `out`, [x.rows, pitch], for Products. A finite value
/// outside the type's range raises *overflow.
absl::Status LaunchRound(Stream& stream, Matrix x, WeightFormat format, int64_t pitch, void* out,
                         int32_t* overflow);

}  // namespace fmaserver::kernels::cuda
