// The seam between the transformer and the device that computes it: one step's operations.
//
// A step is a batch of segments: rows of one sequence at consecutive positions, one row for decode
// and many for a slice of a prompt. Matrices are row-major float32 in the backend's memory, one row
// per token of the step. Weights are handed over once and live in opaque handles.
//
// Operations are called from one thread and take effect in the order of the calls; on a device they
// may still be under way when they return, so what they name must stay until EndStep() or a copy to
// the host has waited; those report what went wrong. Within a step, an operation may also write the
// rows of its buffer that follow its output: activations of a step share no buffer. Row
// invariance: every row's result is the same in every bit whatever other rows share the step and
// however a sequence is cut into segments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/fma/slot_layout.h"
#include "kernels/fma/spec.h"
#include "kernels/fma/weight_format.h"
#include "kernels/sampling.h"

namespace fmaserver::kernels {

/// [rows, cols] float32 in the backend's memory. Does not own.
struct Matrix {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;

  float* Row(int64_t row) const { return data + row * cols; }
  /// The rows from `row` on; none past the end.
  Matrix From(int64_t row) const {
    return row < rows ? Matrix{Row(row), rows - row, cols} : Matrix{};
  }
  bool operator==(const Matrix&) const = default;
};

/// [rows, cols] of `format` in host memory, perhaps unaligned. Does not own; a vector has one row.
struct HostMatrix {
  const std::byte* data = nullptr;
  WeightFormat format = WeightFormat::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  /// Of formats whose numbers are small integers in blocks of cols / scales->cols along a row: a
  /// weight is scale * number + minimum, with the scale and the minimum of its block, [rows,
  /// blocks] each. Null: none, as every format of today demands (kernels/host/linear.h).
  const HostMatrix* scales = nullptr;
  const HostMatrix* minima = nullptr;
};

/// A weight [out, in] and its bias [out] (null data: none).
struct HostLinear {
  HostMatrix weight;
  HostMatrix bias;
};

/// A normalisation's scale [D] and shift [D] (null data: none).
struct HostNorm {
  NormKind kind = NormKind::kRmsNorm;
  float eps = 0;
  HostMatrix weight;
  HostMatrix bias;
};

/// One level's downsampling of keys or of values in PyTorch's Conv1d layout, flattened to
/// [d*p, taps] (conv: taps = d * w_l), bias [1, d*p].
struct HostDownsampling {
  HostMatrix weight;
  HostMatrix bias;
};

/// What one attention layer has besides its products.
struct HostAttention {
  std::span<const HostDownsampling> keys;  ///< NumDownsamplingWeights(spec) of each
  std::span<const HostDownsampling> values;
  HostMatrix level_bias;  ///< [H, columns]; null data: none
};

class LinearWeights {
 public:
  virtual ~LinearWeights() = default;
  int64_t out = 0;
  int64_t in = 0;
};

class NormWeights {
 public:
  virtual ~NormWeights() = default;
};

class AttentionWeights {
 public:
  virtual ~AttentionWeights() = default;
};

/// Memory of a backend; freed on destruction.
class Buffer {
 public:
  virtual ~Buffer() = default;
  std::byte* data = nullptr;
  int64_t bytes = 0;
};

/// Cache slots of one layout in the backend's memory; freed on destruction. Where they lie, and in
/// which order their bytes are, is the backend's own affair.
class SlotMemory {
 public:
  virtual ~SlotMemory() = default;
  SlotLayout layout;
  int32_t count = 0;
};

/// One slot of a SlotMemory, which must outlive its use. A plain value.
struct SlotHandle {
  const SlotMemory* memory = nullptr;
  int32_t index = 0;

  explicit operator bool() const { return memory != nullptr; }
  bool operator==(const SlotHandle&) const = default;
};

/// Rows [position, position + rows) of the sequence whose cache is `slot`. A slot appears in at
/// most one segment of a step and has taken exactly the tokens before `position`.
struct Segment {
  SlotHandle slot;
  int64_t position = 0;
  int32_t rows = 0;
  /// The rows are attended to as ever, but the slot stays as it was until Commit() says how many
  /// of them it takes.
  bool tentative = false;
};

/// Bytes of a device's own memory, and what all its users together take of them.
struct DeviceMemory {
  int64_t total = 0;
  int64_t used = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  /// For people: "cpu, 2 threads, AVX3 and AMX".
  virtual std::string Description() const = 0;

  /// Absent: the backend computes in the host's memory, or its device does not answer. Any thread.
  virtual std::optional<DeviceMemory> MemoryInfo() const { return std::nullopt; }

  /// `bytes` > 0, aligned to SlotLayout::kAlignment, contents unspecified. RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) = 0;

  /// `count` > 0 slots, fewer than 2^63 bytes in all, of unspecified contents: a sequence never
  /// reads what it did not write. RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<std::unique_ptr<SlotMemory>> AllocateSlots(const SlotLayout& layout,
                                                                    int32_t count) = 0;

  /// Several products of the same input stacked along `out`: one pass computes them all.
  virtual absl::StatusOr<std::unique_ptr<LinearWeights>> PackLinear(
      std::span<const HostLinear> stacked) = 0;
  virtual absl::StatusOr<std::unique_ptr<NormWeights>> PackNorm(const HostNorm& norm) = 0;
  virtual absl::StatusOr<std::unique_ptr<AttentionWeights>> PackAttention(
      const AttentionSpec& spec, const HostAttention& weights) = 0;

  /// Announces the segments of a step; their rows follow each other in every matrix. All slots are
  /// of one layout, of `spec`.
  virtual void BeginStep(const AttentionSpec& spec, std::span<const Segment> segments) = 0;
  virtual absl::Status EndStep() = 0;

  /// After a step that went well, and before the next: each tentative segment's slot, in their
  /// order, takes the first accepted[i] of its rows (0 .. rows) and is then what it would be had it
  /// been fed these alone. The other rows, and without this call all of them, are forgotten.
  virtual absl::Status Commit(std::span<const int32_t> accepted) = 0;

  /// x[i] = table[ids[i]], or with `accumulate` x[i] += table[ids[i]]. Ids in [0, table.out).
  virtual void Embed(std::span<const int64_t> ids, const LinearWeights& table, bool accumulate,
                     Matrix x) = 0;

  /// out = norm(x), row by row.
  virtual void Norm(Matrix x, const NormWeights& weights, Matrix out) = 0;

  /// y = x W^T + b, or with `accumulate` y += x W^T + b. x [n, in], y [n, out]; no overlap.
  virtual void Linear(Matrix x, const LinearWeights& weights, bool accumulate, Matrix y) = 0;

  /// Appends the step's keys and values of layer `layer` to every slot, attends, and closes the
  /// groups that completed; what tentative segments append and close is theirs alone. qkv
  /// [n, QkvColumns()] unrotated, out [n, H*d].
  virtual void Attend(const AttentionWeights& weights, int32_t layer, Matrix qkv, Matrix out) = 0;

  /// out = act(in) for the GELUs; swiglu: in [n, 2F] is gate | up, out [n, F] = silu(gate) * up.
  virtual void Activate(MlpKind kind, Matrix in, Matrix out) = 0;

  /// out[i] = x[rows[i]].
  virtual void GatherRows(Matrix x, std::span<const int32_t> rows, Matrix out) = 0;

  /// Copies into host memory; waits for the operations before it.
  virtual absl::Status CopyToHost(Matrix x, std::span<float> out) = 0;

  /// Copies a slot to another of the same layout, between steps.
  virtual absl::Status CopySlot(SlotHandle from, SlotHandle to) = 0;

  /// Copies a slot's bytes, slot_bytes of its layout, out to host memory or back in, between steps;
  /// waits until it is done. In host memory they are the same for every backend, as SlotLayout
  /// says.
  virtual absl::Status SaveSlot(SlotHandle slot, std::span<std::byte> out) = 0;
  virtual absl::Status RestoreSlot(std::span<const std::byte> in, SlotHandle slot) = 0;

  /// Chooses tokens without a copy of the logits; null: this backend's logits are at hand.
  virtual RowSampler* sampler() { return nullptr; }
};

}  // namespace fmaserver::kernels
