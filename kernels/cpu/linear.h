// Products with packed weights: y = x W^T + b.
//
// Weights are packed in panels of kPanel outputs, each panel [in, kPanel] so that SIMD lanes are
// outputs and every lane walks the inputs in order. A row's sum is therefore one chain of fused
// multiply-adds whatever the other rows, the tile or the thread: row invariance by construction.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/thread_pool.h"

namespace fmaserver::cpu {

class PackedLinear : public LinearWeights {
 public:
  static constexpr int64_t kPanel = 64;

  /// All parts share `in`; the panels keep the widest dtype among the parts (F32 if they differ).
  static absl::StatusOr<std::unique_ptr<PackedLinear>> Pack(std::span<const HostLinear> stacked);

  int64_t panels() const { return (out + kPanel - 1) / kPanel; }
  const std::byte* Panel(int64_t panel) const {
    return data.get() + panel * in * kPanel * SizeOf(dtype);
  }

  DType dtype = DType::kF32;
  AlignedArray<std::byte> data;  ///< [panels, in, kPanel]; outputs past `out` are zero
  AlignedArray<float> bias;      ///< [panels * kPanel]; null: none
};

/// y = x W^T + b, or y += x W^T + b. x [n, in], y [n, out].
void Linear(ThreadPool& pool, Matrix x, const PackedLinear& weights, bool accumulate, Matrix y);

/// x[i] = row ids[i] of W, or x[i] += it.
void EmbedRows(ThreadPool& pool, std::span<const int64_t> ids, const PackedLinear& table,
               bool accumulate, Matrix x);

}  // namespace fmaserver::cpu
