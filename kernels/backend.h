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
#include "kernels/sampling.h"

namespace fmaserver::kernels {

/// [rows, cols] float32 in the backend's memory. Does not own.
struct Matrix {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;

  float* Row(int64_t row) const { return data + row * cols; }
  bool operator==(const Matrix&) const = default;
};

/// [rows, cols] of `dtype` in host memory, perhaps unaligned. Does not own; a vector has one row.
struct HostMatrix {
  const std::byte* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
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

/// Rows [position, position + rows) of the sequence whose cache is `slot`. A slot appears in at
/// most one segment of a step and has taken exactly the tokens before `position`.
struct Segment {
  std::byte* slot = nullptr;
  int64_t position = 0;
  int32_t rows = 0;
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

  /// Several products of the same input stacked along `out`: one pass computes them all.
  virtual absl::StatusOr<std::unique_ptr<LinearWeights>> PackLinear(
      std::span<const HostLinear> stacked) = 0;
  virtual absl::StatusOr<std::unique_ptr<NormWeights>> PackNorm(const HostNorm& norm) = 0;
  virtual absl::StatusOr<std::unique_ptr<AttentionWeights>> PackAttention(
      const AttentionSpec& spec, const HostAttention& weights) = 0;

  /// Announces the segments of a step; their rows follow each other in every matrix.
  virtual void BeginStep(const AttentionSpec& spec, const SlotLayout& layout,
                         std::span<const Segment> segments) = 0;
  virtual absl::Status EndStep() = 0;

  /// x[i] = table[ids[i]], or with `accumulate` x[i] += table[ids[i]]. Ids in [0, table.out).
  virtual void Embed(std::span<const int64_t> ids, const LinearWeights& table, bool accumulate,
                     Matrix x) = 0;

  /// out = norm(x), row by row.
  virtual void Norm(Matrix x, const NormWeights& weights, Matrix out) = 0;

  /// y = x W^T + b, or with `accumulate` y += x W^T + b. x [n, in], y [n, out]; no overlap.
  virtual void Linear(Matrix x, const LinearWeights& weights, bool accumulate, Matrix y) = 0;

  /// Appends the step's keys and values of layer `layer` to every slot, attends, and closes the
  /// groups that completed. qkv [n, QkvColumns()] unrotated, out [n, H*d].
  virtual void Attend(const AttentionWeights& weights, int32_t layer, Matrix qkv, Matrix out) = 0;

  /// out = act(in) for the GELUs; swiglu: in [n, 2F] is gate | up, out [n, F] = silu(gate) * up.
  virtual void Activate(MlpKind kind, Matrix in, Matrix out) = 0;

  /// out[i] = x[rows[i]].
  virtual void GatherRows(Matrix x, std::span<const int32_t> rows, Matrix out) = 0;

  /// Copies into host memory; waits for the operations before it.
  virtual absl::Status CopyToHost(Matrix x, std::span<float> out) = 0;

  /// Copies a slot of `bytes` bytes to another, between steps.
  virtual absl::Status CopySlot(const std::byte* from, std::byte* to, int64_t bytes) = 0;

  /// Copies from host memory, between steps.
  virtual absl::Status CopyFromHost(std::span<const std::byte> in, std::byte* to) = 0;

  /// Copies a slot's bytes out to host memory or back in, between steps; waits until it is done.
  /// In host memory they are the same for every backend, as SlotLayout says; in its own memory a
  /// backend may have them in another order.
  virtual absl::Status SaveSlot(const SlotLayout& layout, const std::byte* slot,
                                std::span<std::byte> out) = 0;
  virtual absl::Status RestoreSlot(const SlotLayout& layout, std::span<const std::byte> in,
                                   std::byte* slot) = 0;

  /// Chooses tokens without a copy of the logits; null: this backend's logits are at hand.
  virtual RowSampler* sampler() { return nullptr; }
};

}  // namespace fmaserver::kernels
