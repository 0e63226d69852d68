// The seam between the transformer and the device that computes it: one step's operations.
//
// A step is a batch of segments: rows of one sequence at consecutive positions, one row for decode
// and many for a slice of a prompt. Matrices are row-major float32 in the backend's memory, one row
// per token of the step. Weights are handed over once and live in opaque handles.
//
// Operations are called from one thread and take effect in the order of the calls. On a device they
// may still be running when the call returns, so what they name must stay until EndStep() or a copy
// to the host has waited for them; these two report what went wrong. Within a step, an operation
// may also write the rows of its buffer after its output, so activations of a step must not share a
// buffer. Row invariance: the result of a row has the same bits whatever other rows share the step,
// and however a sequence is cut into segments.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/fma/archive_layout.h"
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
  /// The rows from `row` on; none if `row` is past the end.
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
  /// For formats of integers in blocks: the scales and perhaps the minima of the blocks, float16,
  /// [rows, cols / kWeightBlock] each. Null: none.
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

/// The weights of one attention layer besides its products.
struct HostAttention {
  std::span<const HostDownsampling> keys;  ///< NumDownsamplingWeights(spec) of each
  std::span<const HostDownsampling> values;
  std::span<const HostDownsampling> queries = {};  ///< likewise, with query_downsampling only
  HostMatrix level_bias;                           ///< [H, columns]; null data: none
  /// RMS norms [d] of every query head and of every key head; without weights there are none.
  HostNorm query_norm;
  HostNorm key_norm;
  /// [d/2], rotary positions only: what the frequencies are divided by; empty: 1.
  std::span<const double> rope_factors;
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

/// Memory of a backend; the destructor frees it.
class Buffer {
 public:
  virtual ~Buffer() = default;
  std::byte* data = nullptr;
  int64_t bytes = 0;
};

/// Cache slots of one layout in the backend's memory; the destructor frees them. Only the backend
/// knows where they lie and in which order their bytes are.
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

/// One group of an archive: the step that completes the fine group behind it writes it, and then it
/// never changes. Any number of sequences may share it; it outlives the steps that name it.
/// Making, saving, restoring (MakeGroup, SaveSketches, RestoreSketches) and destroying happen on
/// any threads, at the same time as each other and as steps. Only saving, which reads, may meet a
/// group that steps read at that moment or that another thread is saving.
class ArchiveGroup {
 public:
  virtual ~ArchiveGroup() = default;
  /// ArchiveLayout's block of tokens, in host memory. Where the sketches lie is the backend's own
  /// business (SaveSketches).
  std::byte* tokens = nullptr;
};

/// Rows [position, position + rows) of the sequence whose cache is `slot`. A slot appears in at
/// most one segment of a step and has taken exactly the tokens before `position`.
struct Segment {
  SlotHandle slot;
  int64_t position = 0;
  int32_t rows = 0;
  /// The rows attend as in any segment, but the slot stays as it was until Commit() says how many
  /// of them it takes.
  bool tentative = false;
  /// Whether queries open units. Then `archive` has a group for each of the first
  /// ArchiveLayout::Groups(position + rows): the first Groups(position) have been written before,
  /// the others are written by this step (by a tentative segment too, whose groups count as
  /// unwritten until Commit(), to which `archive` must stay).
  bool opens = false;
  std::span<ArchiveGroup* const> archive = {};
  /// [K, U] in host memory, U the units of `archive`, or empty, which costs nothing: every layer
  /// adds the weight that each unit got from the last row, summed over the query heads of each KV
  /// head. To be read after EndStep().
  std::span<float> unit_weights = {};
  /// [layers, K, AttentionParts::Count()] in host memory, or empty, which costs nothing: every
  /// layer adds how the last row divided its attention among the parts of what it sees, the shares
  /// of the query heads of each KV head summed. To be read after EndStep().
  std::span<float> attention_shares = {};
};

/// Whole sequences on their way through the attention of an encoder's layer.
struct BothWays {
  std::span<const int64_t> lengths;  ///< of the sequences, each 1 or more
  /// As of Attend(): the rows are the tokens of one sequence after the other. It is overwritten.
  Matrix qkv;
  Buffer* workspace = nullptr;  ///< of BothWaysBytes() or more
  Matrix out;

  bool done = false;
  // Where it is; these begin as 0, and the backend alone knows what they mean.
  int32_t phase = 0;
  int64_t task = 0;
};

/// The size in bytes of a device's own memory, and how much all its users take together.
struct DeviceMemory {
  int64_t total = 0;
  int64_t used = 0;
};

/// Units of archives that queries read, by where their tokens were: in the device's memory, or in
/// the host's.
struct UnitReads {
  int64_t from_device = 0;
  int64_t from_host = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  /// For people to read: "cpu, 2 threads, AVX3 and AMX".
  virtual std::string Description() const = 0;

  /// Absent when the backend computes in the host's memory, or its device does not answer. Any
  /// thread.
  virtual std::optional<DeviceMemory> MemoryInfo() const { return std::nullopt; }

  /// `bytes` > 0, aligned to SlotLayout::kAlignment, contents unspecified. RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) = 0;

  /// `count` > 0 slots, fewer than 2^63 bytes in all. Their contents are unspecified, because a
  /// sequence never reads what it did not write. RESOURCE_EXHAUSTED; UNIMPLEMENTED for a type of
  /// cache that the backend cannot keep.
  virtual absl::StatusOr<std::unique_ptr<SlotMemory>> AllocateSlots(const SlotLayout& layout,
                                                                    int32_t count) = 0;

  /// A group that has yet to be written. `tokens`, layout.TokenBytes() bytes of host memory, is
  /// where its tokens will lie; it must outlive the group. RESOURCE_EXHAUSTED; UNIMPLEMENTED for
  /// backends that open no units.
  virtual absl::StatusOr<std::unique_ptr<ArchiveGroup>> MakeGroup(const ArchiveLayout& layout,
                                                                  std::span<std::byte> tokens) {
    static_cast<void>(layout), static_cast<void>(tokens);
    return absl::UnimplementedError("this device cannot open units: set fma.open_units to 0");
  }

  /// Sets aside up to `bytes` of the device's memory for copies of the units that were opened last,
  /// of archives laid out like `layout`, whose tokens lie in the host's. Returns how many were
  /// taken: none by a backend that computes there. Before the first step. RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<int64_t> CacheUnits(const ArchiveLayout& layout, int64_t bytes) {
    static_cast<void>(layout), static_cast<void>(bytes);
    return 0;
  }

  /// Absent where CacheUnits() has taken nothing, or the device does not answer. Any thread.
  virtual std::optional<UnitReads> ReadsOfUnits() const { return std::nullopt; }

  /// Packs several products of the same input, stacked along `out`: one pass computes them all.
  virtual absl::StatusOr<std::unique_ptr<LinearWeights>> PackLinear(
      std::span<const HostLinear> stacked) = 0;
  /// The same, but weights that are not integers in blocks are first rounded to those of `format`
  /// (kernels/host/quantise.h). INVALID_ARGUMENT for numbers that it cannot hold.
  virtual absl::StatusOr<std::unique_ptr<LinearWeights>> PackQuantised(
      std::span<const HostLinear> stacked, WeightFormat format) = 0;
  virtual absl::StatusOr<std::unique_ptr<NormWeights>> PackNorm(const HostNorm& norm) = 0;
  virtual absl::StatusOr<std::unique_ptr<AttentionWeights>> PackAttention(
      const AttentionSpec& spec, const HostAttention& weights) = 0;

  /// Announces the segments of a step; their rows follow each other in every matrix. All slots have
  /// one layout, made for `spec`. Layers that attend are of `spec`, or of spec.WithoutRope().
  virtual void BeginStep(const AttentionSpec& spec, std::span<const Segment> segments) = 0;
  virtual absl::Status EndStep() = 0;

  /// Called after a step that went well and before the next: the slot of the i-th tentative segment
  /// takes the first accepted[i] of its rows (0 to all), and is then what it would be if it had
  /// been fed only these. All other tentative rows are forgotten; without this call, all of them
  /// are.
  virtual absl::Status Commit(std::span<const int32_t> accepted) = 0;

  /// x[i] = table[ids[i]], or with `accumulate` x[i] += table[ids[i]]. Ids in [0, table.out).
  virtual void Embed(std::span<const int64_t> ids, const LinearWeights& table, bool accumulate,
                     Matrix x) = 0;

  /// out = norm(x), row by row.
  virtual void Norm(Matrix x, const NormWeights& weights, Matrix out) = 0;

  /// y = x W^T + b, or with `accumulate` y += x W^T + b. x [n, in], y [n, out]; no overlap.
  virtual void Linear(Matrix x, const LinearWeights& weights, bool accumulate, Matrix y) = 0;

  /// Appends the step's keys and values of layer `layer` to every slot, attends, and closes the
  /// groups that completed. What tentative segments append and close is seen only by themselves.
  /// qkv [n, QkvColumns()] as the product gave it, which is overwritten where heads are normed; out
  /// [n, H*d].
  virtual void Attend(const AttentionWeights& weights, int32_t layer, Matrix qkv, Matrix out) = 0;

  /// The bytes that AttendBothWays() needs to work in, for sequences of these lengths: of the order
  /// of their tokens.
  virtual int64_t BothWaysBytes(const AttentionSpec& spec,
                                std::span<const int64_t> lengths) const = 0;

  /// Goes on with the attention of an encoder's layer (spec.causal is false), within a step without
  /// segments, for about as much work as `rows` tokens, 1 or more, are to a layer; `out` is
  /// computed once `work` is done. How it is divided changes no bit. Returns how many tokens' work
  /// that was. Between the calls nobody else may write what `work` names.
  virtual int64_t AttendBothWays(const AttentionWeights& weights, int64_t rows, BothWays& work) = 0;

  /// out = act(in) for the GELUs; swiglu: in [n, 2F] is gate | up, out [n, F] = silu(gate) * up.
  virtual void Activate(MlpKind kind, Matrix in, Matrix out) = 0;

  /// out[i] = x[rows[i]].
  virtual void GatherRows(Matrix x, std::span<const int32_t> rows, Matrix out) = 0;

  /// Copies into host memory, after waiting for the operations before it.
  virtual absl::Status CopyToHost(Matrix x, std::span<float> out) = 0;

  /// Copies a slot to another of the same layout, between steps.
  virtual absl::Status CopySlot(SlotHandle from, SlotHandle to) = 0;

  /// Copies a slot's bytes, slot_bytes of its layout, to host memory or back, between steps; waits
  /// until it is done. In host memory they are as SlotLayout says for every backend.
  virtual absl::Status SaveSlot(SlotHandle slot, std::span<std::byte> out) = 0;
  virtual absl::Status RestoreSlot(std::span<const std::byte> in, SlotHandle slot) = 0;

  /// The same for the sketches of a group, layout.SketchBytes() bytes. Its tokens are in host
  /// memory anyway.
  virtual absl::Status SaveSketches(const ArchiveGroup& group, std::span<std::byte> out) = 0;
  virtual absl::Status RestoreSketches(std::span<const std::byte> in, ArchiveGroup& group) = 0;

  /// Chooses tokens without copying the logits; null when this backend's logits are in host memory
  /// anyway.
  virtual RowSampler* sampler() { return nullptr; }
};

}  // namespace fmaserver::kernels
