#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/machine.h"
#include "hwy/targets.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/block_linear.h"
#include "kernels/cpu/encoder_attention.h"
#include "kernels/cpu/fair_mutex.h"
#include "kernels/cpu/host_group.h"
#include "kernels/cpu/huge_pages.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/panel_linear.h"
#include "kernels/cpu/pointwise.h"
#include "kernels/cpu/rotary.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/sketch_pool.h"
#include "kernels/cpu/tentative_rows.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/tile_linear.h"
#include "kernels/host/attention.h"
#include "kernels/host/linear.h"

namespace fmaserver::kernels {

class CpuThreads {
 public:
  explicit CpuThreads(int threads) : pool(threads) {}

  ThreadPool pool;  // used only by the holder of `in_use`
  FairMutex in_use;
};

namespace {

constexpr int kMaxThreads = 1024;

absl::Status NoMemory(int64_t bytes) {
  return absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes"));
}

class HostBuffer : public Buffer {
 public:
  HostBuffer(AlignedArray<std::byte> memory, int64_t size) : memory_(std::move(memory)) {
    data = memory_.get();
    bytes = size;
  }

 private:
  AlignedArray<std::byte> memory_;
};

class HostSlots : public SlotMemory {
 public:
  HostSlots(BlockPart memory, const SlotLayout& slot, int32_t slots) : memory_(std::move(memory)) {
    layout = slot;
    count = slots;
  }

  static std::byte* Find(SlotHandle slot) {
    const auto& slots = static_cast<const HostSlots&>(*slot.memory);
    return slots.memory_.get() + slot.index * slots.layout.slot_bytes;
  }

 private:
  BlockPart memory_;
};

class CpuBackend : public Backend {
 public:
  CpuBackend(std::shared_ptr<CpuThreads> threads, const cpu::Extensions& extensions)
      : threads_(std::move(threads)),
        pool_(threads_->pool),
        tile_input_(extensions.multiply_stripes == nullptr
                        ? nullptr
                        : std::make_shared<cpu::TileInput>(extensions)),
        block_input_(std::make_shared<cpu::BlockInput>(extensions)) {}

  std::string Description() const override {
    const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
    const int64_t best = targets & -targets;  // Highway numbers better targets lower
    return absl::StrCat("cpu, ", pool_.threads(), pool_.threads() == 1 ? " thread, " : " threads, ",
                        hwy::TargetName(best), tile_input_ != nullptr ? " and AMX" : "");
  }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override {
    AlignedArray<std::byte> memory = TryAllocateAligned<std::byte>(bytes);
    if (memory == nullptr) return NoMemory(bytes);
    return std::make_unique<HostBuffer>(std::move(memory), bytes);
  }

  absl::StatusOr<std::unique_ptr<SlotMemory>> AllocateSlots(const SlotLayout& layout,
                                                            int32_t count) override {
    const int64_t bytes = layout.slot_bytes * count;
    BlockPart memory = TryAllocateInHugePages(bytes);
    if (memory == nullptr) return NoMemory(bytes);
    return std::make_unique<HostSlots>(std::move(memory), layout, count);
  }

  absl::StatusOr<std::unique_ptr<ArchiveGroup>> MakeGroup(const ArchiveLayout& layout,
                                                          std::span<std::byte> tokens) override {
    const int64_t heads = int64_t{layout.num_layers} * layout.num_kv_heads;
    const SketchColumn column = sketches_->TryTake(heads, layout.HeadSketchBytes());
    if (column.first == nullptr) return NoMemory(layout.SketchBytes());
    return std::make_unique<HostGroup>(tokens.data(), column, sketches_);
  }

  absl::StatusOr<std::unique_ptr<LinearWeights>> PackLinear(
      std::span<const HostLinear> stacked) override {
    const auto in_blocks = [](const HostLinear& part) { return InBlocks(part.weight.format); };
    if (std::ranges::all_of(stacked, in_blocks)) {
      return cpu::BlockLinear::Pack(stacked, std::nullopt, block_input_, Parts());
    }
    const absl::StatusOr<StackedShape> shape = ShapeOf(stacked);
    if (shape.ok() && tile_input_ != nullptr && shape->format == WeightFormat::kBF16) {
      return cpu::TileLinear::Pack(stacked, tile_input_, Parts());
    }
    return cpu::PanelLinear::Pack(stacked, Parts());
  }

  absl::StatusOr<std::unique_ptr<LinearWeights>> PackQuantised(std::span<const HostLinear> stacked,
                                                               WeightFormat format) override {
    return cpu::BlockLinear::Pack(stacked, format, block_input_, Parts());
  }

  absl::StatusOr<std::unique_ptr<NormWeights>> PackNorm(const HostNorm& norm) override {
    return std::make_unique<cpu::PackedNorm>(norm);
  }

  absl::StatusOr<std::unique_ptr<AttentionWeights>> PackAttention(
      const AttentionSpec& spec, const HostAttention& weights) override {
    const auto frequencies = RotaryFrequencies(spec, weights.rope_factors);
    if (frequencies.empty()) return cpu::PackedAttention::Pack(spec, weights, nullptr);
    if (rotary_ == nullptr || !rotary_->IsOf(spec, frequencies)) {
      rotary_ = std::make_shared<cpu::Rotary>(spec, frequencies);
    }
    return cpu::PackedAttention::Pack(spec, weights, rotary_);
  }

  void BeginStep(const AttentionSpec& spec, std::span<const Segment> segments) override {
    in_use_ = std::unique_lock(threads_->in_use);
    const SlotLayout layout = segments.empty() ? SlotLayout() : segments[0].slot.memory->layout;
    if (!segments.empty() && (scratch_layout_ != layout || scratch_spec_ != spec)) {
      scratch_.clear();
      scratch_layout_ = layout;
      scratch_spec_ = spec;
      for (int i = 0; i < pool_.threads(); ++i) scratch_.emplace_back(spec, layout);
    }
    step_.emplace(spec, layout, SlotSegments(segments, HostSlots::Find));
    status_ = tentative_.Begin(*step_);
  }

  absl::Status EndStep() override {
    step_.reset();
    in_use_ = {};
    return std::exchange(status_, absl::OkStatus());
  }

  absl::Status Commit(std::span<const int32_t> accepted) override {
    const std::lock_guard lock(threads_->in_use);
    return tentative_.Commit(pool_, accepted, scratch_);
  }

  void Embed(std::span<const int64_t> ids, const LinearWeights& table, bool accumulate,
             Matrix x) override {
    cpu::EmbedRows(pool_, ids, static_cast<const cpu::CpuLinear&>(table), accumulate, x);
  }

  void Norm(Matrix x, const NormWeights& weights, Matrix out) override {
    cpu::Norm(pool_, x, static_cast<const cpu::PackedNorm&>(weights), out);
  }

  void Linear(Matrix x, const LinearWeights& weights, bool accumulate, Matrix y) override {
    static_cast<const cpu::CpuLinear&>(weights).Multiply(pool_, x, accumulate, y);
  }

  void Attend(const AttentionWeights& weights, int32_t layer, Matrix qkv, Matrix out) override {
    const auto& packed = static_cast<const cpu::PackedAttention&>(weights);
    tentative_.Keep(*step_, packed, layer, qkv);
    cpu::Attend(pool_, *step_, packed, layer, qkv, out, scratch_);
  }

  int64_t BothWaysBytes(const AttentionSpec& spec,
                        std::span<const int64_t> lengths) const override {
    const cpu::EncoderLayout layout(spec, EncoderPlan(spec, lengths), pool_.threads());
    return layout.floats * static_cast<int64_t>(sizeof(float));
  }

  int64_t AttendBothWays(const AttentionWeights& weights, int64_t rows, BothWays& work) override {
    return cpu::AttendBothWays(pool_, static_cast<const cpu::PackedAttention&>(weights), rows, work)
        .rows;
  }

  void Activate(MlpKind kind, Matrix in, Matrix out) override {
    cpu::Activate(pool_, kind, in, out);
  }

  void GatherRows(Matrix x, std::span<const int32_t> rows, Matrix out) override {
    for (int64_t i = 0; i < out.rows; ++i) std::copy_n(x.Row(rows[i]), x.cols, out.Row(i));
  }

  absl::Status CopyToHost(Matrix x, std::span<float> out) override {
    std::copy_n(x.data, x.rows * x.cols, out.data());
    return absl::OkStatus();
  }

  absl::Status CopySlot(SlotHandle from, SlotHandle to) override {
    std::copy_n(HostSlots::Find(from), from.memory->layout.slot_bytes, HostSlots::Find(to));
    return absl::OkStatus();
  }

  absl::Status SaveSlot(SlotHandle slot, std::span<std::byte> out) override {
    std::copy_n(HostSlots::Find(slot), slot.memory->layout.slot_bytes, out.data());
    return absl::OkStatus();
  }

  absl::Status RestoreSlot(std::span<const std::byte> in, SlotHandle slot) override {
    std::copy_n(in.data(), slot.memory->layout.slot_bytes, HostSlots::Find(slot));
    return absl::OkStatus();
  }

  absl::Status SaveSketches(const ArchiveGroup& group, std::span<std::byte> out) override {
    const SketchColumn& column = SketchesOf(group);
    for (int64_t head = 0; head < column.heads; ++head) {
      std::copy_n(column.Head(head), column.head_bytes, &out[head * column.head_bytes]);
    }
    return absl::OkStatus();
  }

  absl::Status RestoreSketches(std::span<const std::byte> in, ArchiveGroup& group) override {
    const SketchColumn& column = SketchesOf(group);
    for (int64_t head = 0; head < column.heads; ++head) {
      std::copy_n(&in[head * column.head_bytes], column.head_bytes, column.Head(head));
    }
    return absl::OkStatus();
  }

 private:
  /// Packs the parts of a weight on all threads; steps of other models go between them.
  std::function<void(int64_t, absl::FunctionRef<void(int64_t)>)> Parts() {
    return [this](int64_t count, absl::FunctionRef<void(int64_t)> body) {
      const int64_t at_once = int64_t{8} * pool_.threads();
      for (int64_t first = 0; first < count; first += at_once) {
        const std::lock_guard lock(threads_->in_use);
        pool_.ParallelFor(std::min(at_once, count - first),
                          [&](int64_t i, int) { body(first + i); });
      }
    };
  }

  const std::shared_ptr<CpuThreads> threads_;
  ThreadPool& pool_;                                  // of threads_
  std::unique_lock<FairMutex> in_use_;                // from the beginning of a step to its end
  const std::shared_ptr<cpu::TileInput> tile_input_;  // null: products on vectors only
  const std::shared_ptr<cpu::BlockInput> block_input_;
  std::shared_ptr<cpu::Rotary> rotary_;  // of the layers that were packed last
  const std::shared_ptr<SketchPool> sketches_ = std::make_shared<SketchPool>();
  std::optional<cpu::AttentionStep> step_;
  cpu::TentativeRows tentative_;
  absl::Status status_;                         // of the step
  std::vector<cpu::AttentionScratch> scratch_;  // one per thread, for the layers of these shapes:
  AttentionSpec scratch_spec_;
  SlotLayout scratch_layout_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<CpuThreads>> MakeCpuThreads(int threads) {
  if (threads < 0 || threads > kMaxThreads) {
    return absl::InvalidArgumentError(absl::StrCat("threads is ", threads, "; allowed: 1 to ",
                                                   kMaxThreads, ", or 0 for one per core"));
  }
  if (threads == 0) threads = ReadMachineShare().cores;
  return std::make_shared<CpuThreads>(threads);
}

std::unique_ptr<Backend> MakeCpuBackend(std::shared_ptr<CpuThreads> threads,
                                        const cpu::Extensions& extensions) {
  return std::make_unique<CpuBackend>(std::move(threads), extensions);
}

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(int threads,
                                                        const cpu::Extensions& extensions) {
  auto own = MakeCpuThreads(threads);
  if (!own.ok()) return own.status();
  return MakeCpuBackend(*std::move(own), extensions);
}

}  // namespace fmaserver::kernels
