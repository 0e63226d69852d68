#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/machine.h"
#include "hwy/targets.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/panel_linear.h"
#include "kernels/cpu/pointwise.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/tile_linear.h"

namespace fmaserver::kernels {
namespace {

constexpr int kMaxThreads = 1024;

class HostBuffer : public Buffer {
 public:
  HostBuffer(AlignedArray<std::byte> memory, int64_t size) : memory_(std::move(memory)) {
    data = memory_.get();
    bytes = size;
  }

 private:
  AlignedArray<std::byte> memory_;
};

class CpuBackend : public Backend {
 public:
  CpuBackend(int threads, bool tiles)
      : pool_(threads), tile_input_(tiles ? std::make_shared<cpu::TileInput>() : nullptr) {}

  std::string Description() const override {
    const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
    const int64_t best = targets & -targets;  // Highway numbers better targets lower
    return absl::StrCat("cpu, ", pool_.threads(), pool_.threads() == 1 ? " thread, " : " threads, ",
                        hwy::TargetName(best), tile_input_ != nullptr ? " and AMX" : "");
  }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override {
    AlignedArray<std::byte> memory = TryAllocateAligned<std::byte>(bytes);
    if (memory == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes"));
    }
    return std::make_unique<HostBuffer>(std::move(memory), bytes);
  }

  absl::StatusOr<std::unique_ptr<LinearWeights>> PackLinear(
      std::span<const HostLinear> stacked) override {
    if (tile_input_ != nullptr && cpu::CommonDType(stacked) == DType::kBF16) {
      return cpu::TileLinear::Pack(stacked, tile_input_);
    }
    return cpu::PanelLinear::Pack(stacked);
  }

  absl::StatusOr<std::unique_ptr<NormWeights>> PackNorm(const HostNorm& norm) override {
    return std::make_unique<cpu::PackedNorm>(norm);
  }

  absl::StatusOr<std::unique_ptr<AttentionWeights>> PackAttention(
      const AttentionSpec& spec, const HostAttention& weights) override {
    return cpu::PackedAttention::Pack(spec, weights);
  }

  void BeginStep(const AttentionSpec& spec, const SlotLayout& layout,
                 std::span<const Segment> segments) override {
    if (scratch_.empty() || scratch_layout_ != layout || scratch_spec_ != spec) {
      scratch_.clear();
      scratch_layout_ = layout;
      scratch_spec_ = spec;
      for (int i = 0; i < pool_.threads(); ++i) scratch_.emplace_back(spec, layout);
    }
    step_.emplace(spec, layout, segments, pool_);
  }

  absl::Status EndStep() override {
    step_.reset();
    return absl::OkStatus();
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
    cpu::Attend(pool_, *step_, static_cast<const cpu::PackedAttention&>(weights), layer, qkv, out,
                scratch_);
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

  absl::Status CopySlot(const std::byte* from, std::byte* to, int64_t bytes) override {
    std::copy_n(from, bytes, to);
    return absl::OkStatus();
  }

  absl::Status CopyFromHost(std::span<const std::byte> in, std::byte* to) override {
    std::ranges::copy(in, to);
    return absl::OkStatus();
  }

  absl::Status SaveSlot(const SlotLayout& /*layout*/, const std::byte* slot,
                        std::span<std::byte> out) override {
    std::copy_n(slot, out.size(), out.data());
    return absl::OkStatus();
  }

  absl::Status RestoreSlot(const SlotLayout& /*layout*/, std::span<const std::byte> in,
                           std::byte* slot) override {
    return CopyFromHost(in, slot);
  }

 private:
  ThreadPool pool_;
  const std::shared_ptr<cpu::TileInput> tile_input_;  // null: products on vectors only
  std::optional<cpu::AttentionStep> step_;
  std::vector<cpu::AttentionScratch> scratch_;  // one per thread, for the layers of these shapes:
  AttentionSpec scratch_spec_;
  SlotLayout scratch_layout_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(int threads, bool use_tiles) {
  if (threads < 0 || threads > kMaxThreads) {
    return absl::InvalidArgumentError(absl::StrCat("threads is ", threads, "; allowed: 1 to ",
                                                   kMaxThreads, ", or 0 for one per core"));
  }
  if (threads == 0) threads = ReadMachineShare().cores;
  return std::make_unique<CpuBackend>(threads, use_tiles && cpu::HasTiles());
}

}  // namespace fmaserver::kernels
