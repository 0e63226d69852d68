// Products with packed weights: y = x W^T + b. Every implementation takes a row's sums in one fixed
// order, whatever the other rows or the thread: this gives row invariance by construction.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/huge_pages.h"
#include "kernels/cpu/thread_pool.h"

namespace fmaserver::kernels::cpu {

/// Weights [out, in], packed in panels of kPanel outputs; a panel is the work of one thread.
class CpuLinear : public LinearWeights {
 public:
  static constexpr int64_t kPanel = 64;

  /// How parts of a weight are packed: calls body(i) for every i in [0, count), on any threads.
  using ForEach = absl::FunctionRef<void(int64_t count, absl::FunctionRef<void(int64_t i)> body)>;

  /// y = x W^T + b, or y += x W^T + b. x [n, in], y [n, out].
  virtual void Multiply(ThreadPool& pool, Matrix x, bool accumulate, Matrix y) const = 0;

  /// W[o, i] as float32.
  virtual float At(int64_t o, int64_t i) const = 0;

  int64_t panels() const { return (out + kPanel - 1) / kPanel; }

 protected:
  /// Takes shapes, format and biases of `stacked`. Errors are those of ShapeOf(), and
  /// RESOURCE_EXHAUSTED.
  absl::Status TakeShapeAndBias(std::span<const HostLinear> stacked);

  WeightFormat format_ = WeightFormat::kF32;  // that all parts share; F32 when they differ
  AlignedArray<float> bias_;                  // [panels * kPanel], zeros past `out`; null: none
};

/// `bytes`, uninitialised: whoever writes them first, on any thread, is who waits for the system to
/// clear their pages. RESOURCE_EXHAUSTED.
absl::StatusOr<BlockPart> AllocateWeights(int64_t bytes);

/// x[i] = row ids[i] of W, or x[i] += that row.
void EmbedRows(ThreadPool& pool, std::span<const int64_t> ids, const CpuLinear& table,
               bool accumulate, Matrix x);

}  // namespace fmaserver::kernels::cpu
