#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/archive_group.h"
#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/attention/attention_weights.h"
#include "kernels/cuda/attention/selection_scratch.h"
#include "kernels/cuda/attention/slot_bytes.h"
#include "kernels/cuda/buffers.h"
#include "kernels/cuda/dense/weights.h"
#include "kernels/cuda/encoder/encoder.h"
#include "kernels/cuda/executor.h"
#include "kernels/cuda/fusion.h"
#include "kernels/cuda/graph_cache.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/runtime/runtime.h"
#include "kernels/cuda/step_data.h"
#include "kernels/cuda/tentative_rows.h"
#include "kernels/cuda/transfer.h"
#include "kernels/cuda/unit_cache.h"

namespace fmaserver::kernels::cuda {
namespace {

constexpr int kLeastMajor = 8;
constexpr int64_t kTransferBytes = int64_t{8} << 20;

/// How many rows of an encoder's attention a device does while a processor does one: what waits for
/// a piece should not wait for long, but a piece should keep a device busy.
constexpr int64_t kRowsAtOnce = 32;

/// The number of rows in the graph that runs a decode step of `rows`: exact for few rows, then
/// multiples of 4, later multiples of about an eighth.
int64_t BucketOf(int64_t rows) {
  if (rows <= kFewRows) return rows;
  int64_t step = 4;
  while (rows > 8 * step) step *= 2;
  return SlotLayout::RoundUp(rows, step);
}

/// Integers are stored two at a time.
absl::Status CheckChannels(CacheType type, int32_t head_dim) {
  if (type != CacheType::kInt8 || head_dim % 2 == 0) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat("this device cannot keep keys and values in int8 where heads have ", head_dim,
                   " channels; allowed: an even number, or a cache in f32, bf16"));
}

class CudaBackend : public Backend, private RowSampler {
 public:
  static absl::StatusOr<std::unique_ptr<Backend>> Create(int device);

  std::string Description() const override { return description_; }

  std::optional<DeviceMemory> MemoryInfo() const override {
    const absl::StatusOr<DeviceInfo> info = DescribeDevice(device_);
    if (!info.ok()) return std::nullopt;
    return DeviceMemory{.total = info->total_bytes, .used = info->total_bytes - info->free_bytes};
  }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override {
    if (absl::Status status = UseDevice(device_); !status.ok()) return status;
    auto memory = Memory::Allocate(Memory::Kind::kDevice, bytes);
    if (!memory.ok()) return memory.status();
    return std::make_unique<DeviceBuffer>(*std::move(memory), live_);
  }

  absl::StatusOr<std::unique_ptr<SlotMemory>> AllocateSlots(const SlotLayout& layout,
                                                            int32_t count) override {
    if (absl::Status status = CheckChannels(layout.type, layout.head_dim); !status.ok()) {
      return status;
    }
    if (absl::Status status = UseDevice(device_); !status.ok()) return status;
    auto memory = Memory::Allocate(Memory::Kind::kDevice, layout.slot_bytes * count);
    if (!memory.ok()) return memory.status();
    return std::make_unique<DeviceSlots>(*std::move(memory), layout, count);
  }

  absl::StatusOr<std::unique_ptr<ArchiveGroup>> MakeGroup(const ArchiveLayout& layout,
                                                          std::span<std::byte> tokens) override {
    if (absl::Status status = CheckChannels(layout.type, layout.head_dim); !status.ok()) {
      return status;
    }
    return DeviceArchiveGroup::Make(device_, layout, tokens);
  }

  absl::StatusOr<int64_t> CacheUnits(const ArchiveLayout& layout, int64_t bytes) override {
    auto cache = UnitCache::Create(device_, layout, bytes);
    if (!cache.ok()) return cache.status();
    unit_cache_ = *std::move(cache);
    return unit_cache_ == nullptr ? 0 : unit_cache_->bytes();
  }
  std::optional<UnitReads> ReadsOfUnits() const override {
    if (unit_cache_ == nullptr) return std::nullopt;
    const absl::StatusOr<UnitReads> reads = unit_cache_->Reads();
    return reads.ok() ? std::optional(*reads) : std::nullopt;
  }

  absl::StatusOr<std::unique_ptr<LinearWeights>> PackLinear(
      std::span<const HostLinear> stacked) override {
    if (absl::Status status = UseDevice(device_); !status.ok()) return status;
    return PackedLinear::Pack(stacked, std::nullopt, uploader_);
  }
  absl::StatusOr<std::unique_ptr<LinearWeights>> PackQuantised(std::span<const HostLinear> stacked,
                                                               WeightFormat format) override {
    if (absl::Status status = UseDevice(device_); !status.ok()) return status;
    return PackedLinear::Pack(stacked, format, uploader_);
  }
  absl::StatusOr<std::unique_ptr<NormWeights>> PackNorm(const HostNorm& norm) override {
    if (absl::Status status = UseDevice(device_); !status.ok()) return status;
    return PackedNorm::Pack(norm, uploader_);
  }
  absl::StatusOr<std::unique_ptr<AttentionWeights>> PackAttention(
      const AttentionSpec& spec, const HostAttention& weights) override {
    if (absl::Status status = UseDevice(device_); !status.ok()) return status;
    return PackedAttention::Pack(spec, weights, *stream_);
  }

  void BeginStep(const AttentionSpec& spec, std::span<const Segment> segments) override;
  absl::Status EndStep() override;
  absl::Status Commit(std::span<const int32_t> accepted) override;

  void Embed(std::span<const int64_t> ids, const LinearWeights& table, bool accumulate,
             Matrix x) override;
  void Norm(Matrix x, const NormWeights& weights, Matrix out) override;
  void Linear(Matrix x, const LinearWeights& weights, bool accumulate, Matrix y) override;
  void Activate(MlpKind kind, Matrix in, Matrix out) override;
  void Attend(const AttentionWeights& weights, int32_t layer, Matrix qkv, Matrix out) override;
  int64_t BothWaysBytes(const AttentionSpec& spec, std::span<const int64_t> lengths) const override;
  int64_t AttendBothWays(const AttentionWeights& weights, int64_t rows, BothWays& work) override;
  void GatherRows(Matrix x, std::span<const int32_t> rows, Matrix out) override;

  absl::Status CopyToHost(Matrix x, std::span<float> out) override;
  absl::Status CopySlot(SlotHandle from, SlotHandle to) override;
  absl::Status SaveSlot(SlotHandle slot, std::span<std::byte> out) override;
  absl::Status RestoreSlot(std::span<const std::byte> in, SlotHandle slot) override;
  absl::Status SaveSketches(const ArchiveGroup& group, std::span<std::byte> out) override {
    return sketches_->Save(group, out);
  }
  absl::Status RestoreSketches(std::span<const std::byte> in, ArchiveGroup& group) override {
    return sketches_->Restore(in, group);
  }

  RowSampler* sampler() override { return this; }

 private:
  absl::Status Sample(Matrix logits, std::span<const RowSampling> rows,
                      std::span<SampledRow> out) override;

  CudaBackend(int device, std::string description, std::unique_ptr<Stream> stream,
              std::unique_ptr<Executor> executor, Transfer transfer,
              std::unique_ptr<SketchCopier> sketches)
      : device_(device),
        description_(std::move(description)),
        stream_(std::move(stream)),
        executor_(std::move(executor)),
        transfer_(std::move(transfer)),
        sketches_(std::move(sketches)),
        uploader_(*stream_) {}

  /// Keeps the first error of a step.
  void Note(const absl::Status& status) { error_.Update(status); }

  /// How many rows an operation on `matrices` of `rows` rows each computes: the bucket's when the
  /// operation covers the whole step and all matrices have room.
  int64_t PaddedRows(int64_t rows, std::initializer_list<Matrix> matrices) const;
  /// Puts `values`, then zeros up to `count`, into the step's data; null after an error.
  template <typename T>
  const T* Put(std::span<const T> values, int64_t count);

  /// Starts a step that pads to `bucket` rows (0: none), with its plan in its data.
  void Begin(const SlotLayout& layout, const AttentionPlan& plan, int64_t bucket);
  void PutPlan(const AttentionPlan& plan);
  /// What a plan reports: memory of zeros for it, and what is done once the step has run.
  void PutReports(const AttentionPlan& plan);
  void FetchReports();
  void AddReports();

  /// Runs what was recorded; returns as soon as it is enqueued.
  absl::Status Flush();
  /// Waits for what was flushed and returns the first error since the last call.
  absl::Status Finish();
  /// CopyOut and CopyIn copy device memory through pinned memory, after what was flushed.
  absl::Status CopyOut(const std::byte* from, std::span<std::byte> out);
  absl::Status CopyIn(std::span<const std::byte> in, std::byte* to);

  const int device_;  // CUDA has one per thread, and other threads load than serve
  const std::string description_;
  const std::shared_ptr<LiveBuffers> live_ = std::make_shared<LiveBuffers>();
  const std::unique_ptr<Stream> stream_;
  const std::unique_ptr<Executor> executor_;
  const Transfer transfer_;
  const std::unique_ptr<SketchCopier> sketches_;
  std::unique_ptr<UnitCache> unit_cache_;  // null: there is none
  Uploader uploader_;
  GraphCache graphs_;
  StepData data_;
  SamplingMemory sampling_;
  std::vector<std::byte> restored_;  // a slot on its way in
  Memory scratch_;                   // for slices of prompts and selected tokens
  Memory reports_memory_;            // float32, what the step reports
  Memory reported_;                  // pinned: the same on the host
  std::vector<Operation> recorded_;
  absl::Status error_;
  bool in_step_ = false;
  bool busy_ = false;  // something was flushed and has not been waited for
  TentativeRows tentative_;
  SlotLayout layout_;  // of the step, like the members below
  std::vector<SlotSegment> segments_;
  DevicePlan plan_;
  std::vector<HeadCopy> copies_;
  std::vector<Wave> waves_;  // plan_ points to them
  std::vector<Report> reports_;
  int64_t step_rows_ = 0;
  int64_t bucket_ = 0;  // rows to pad to in this step; 0: none, and no graph
};

absl::StatusOr<std::unique_ptr<Backend>> CudaBackend::Create(int device) {
  const absl::StatusOr<int> devices = CountDevices();
  if (!devices.ok()) return devices.status();
  if (device < 0 || device >= *devices) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no GPU ", device, "; the driver knows ", *devices));
  }
  const absl::StatusOr<DeviceInfo> info = DescribeDevice(device);
  if (!info.ok()) return info.status();
  const std::string architecture = absl::StrCat(info->major, ".", info->minor);
  if (info->major < kLeastMajor) {
    return absl::FailedPreconditionError(
        absl::StrCat("GPU ", device, " (", info->name, ") has compute capability ", architecture,
                     "; supported: ", kLeastMajor, ".0 and above"));
  }
  if (absl::Status status = UseDevice(device); !status.ok()) return status;
  auto stream = Stream::Create();
  if (!stream.ok()) return stream.status();
  auto executor = Executor::Create(**stream);
  if (!executor.ok()) return executor.status();
  auto transfer = Transfer::Create(kTransferBytes);
  if (!transfer.ok()) return transfer.status();
  auto sketches = SketchCopier::Create(device);
  if (!sketches.ok()) return sketches.status();
  return std::unique_ptr<Backend>(new CudaBackend(
      device,
      absl::StrCat("cuda:", device, ", ", info->name, ", sm_", info->major, info->minor, ", ",
                   info->total_bytes >> 20, " MiB"),
      *std::move(stream), *std::move(executor), *std::move(transfer), *std::move(sketches)));
}

int64_t CudaBackend::PaddedRows(int64_t rows, std::initializer_list<Matrix> matrices) const {
  if (bucket_ == 0 || rows != step_rows_) return rows;
  const bool all_fit = std::ranges::all_of(
      matrices, [&](const Matrix& matrix) { return Fits(*live_, matrix, bucket_); });
  return all_fit ? bucket_ : rows;
}

template <typename T>
const T* CudaBackend::Put(std::span<const T> values, int64_t count) {
  absl::StatusOr<const T*> device = data_.Put(values, count);
  if (device.ok()) return *device;
  Note(device.status());
  return nullptr;
}

void CudaBackend::BeginStep(const AttentionSpec& spec, std::span<const Segment> segments) {
  segments_ = SlotSegments(segments, DeviceSlots::Find);
  step_rows_ = 0;
  bool decodes = true;
  for (const SlotSegment& segment : segments_) {
    step_rows_ += segment.rows;
    decodes = decodes && segment.rows == 1 && !segment.tentative;
  }
  const SlotLayout layout = segments.empty() ? SlotLayout() : segments[0].slot.memory->layout;
  Begin(layout, AttentionPlan(spec, layout, segments_), decodes ? BucketOf(step_rows_) : 0);
  Note(tentative_.Begin(spec, layout, segments_));
}

void CudaBackend::Begin(const SlotLayout& layout, const AttentionPlan& plan, int64_t bucket) {
  recorded_.clear();  // left from a step that was given up
  Note(UseDevice(device_));
  if (data_.Clear()) graphs_.Clear();
  in_step_ = true;
  bucket_ = bucket;
  layout_ = layout;
  PutPlan(plan);
}

void CudaBackend::PutPlan(const AttentionPlan& plan) {
  const auto count = [](const auto& list) { return static_cast<int64_t>(list.size()); };
  plan_ = {};
  plan_.decode_rows = count(plan.decode);
  plan_.num_segments = count(plan.segments);
  plan_.num_appended = plan.num_appended;
  plan_.num_groups = count(plan.groups);
  plan_.num_blocks = count(plan.blocks);
  plan_.num_waves = count(plan.waves);
  plan_.decode = Put<DecodeRow>(plan.decode, std::max(bucket_, plan_.decode_rows));
  const absl::StatusOr<bool> moved =
      GrowMemory(scratch_, Memory::Kind::kDevice, plan.scratch_bytes);
  Note(moved.status());
  if (moved.ok() && *moved) graphs_.Clear();
  if (plan.scratch_bytes > 0) plan_.scratch = scratch_.data();
  plan_.open_scratch = plan.open_scratch;
  plan_.most_units = plan.most_units;
  if (!plan.archive.empty()) {
    const auto groups = static_cast<int64_t>(std::bit_ceil(plan.archive.size()));
    plan_.archive = Put<DeviceGroup>(plan.archive, groups);  // graphs see a new place seldom
    if (unit_cache_ != nullptr) plan_.unit_cache = unit_cache_->view();
  }
  PutReports(plan);
  copies_ = plan.copies;
  waves_ = plan.waves;
  if (plan_.num_blocks == 0) return;
  plan_.segments = Put<PrefillSegment>(plan.segments, plan_.num_segments);
  plan_.groups = Put<GroupTask>(plan.groups, plan_.num_groups);
  plan_.blocks = Put<QueryBlock>(plan.blocks, plan_.num_blocks);
  plan_.rows = Put<DecodeRow>(plan.rows, count(plan.rows));
  plan_.waves = waves_.data();
}

void CudaBackend::PutReports(const AttentionPlan& plan) {
  reports_ = plan.reports;
  if (reports_.empty()) return;
  const int64_t bytes = plan.reported * static_cast<int64_t>(sizeof(float));
  Note(GrowMemory(reported_, Memory::Kind::kPinned, bytes).status());
  const absl::StatusOr<bool> moved = GrowMemory(reports_memory_, Memory::Kind::kDevice, bytes);
  Note(moved.status());
  if (!error_.ok()) return reports_.clear();
  if (*moved) graphs_.Clear();
  if (plan.reports_units) plan_.unit_weights = reports_memory_.As<float>();
  if (plan.reports_shares) plan_.attention_shares = reports_memory_.As<float>();
  Note(stream_->Fill(reports_memory_.data(), 0, reports_memory_.bytes()));
}

void CudaBackend::FetchReports() {
  if (reports_.empty() || !error_.ok()) return;
  busy_ = true;
  const Report& last = reports_.back();
  const int64_t floats = last.from + std::ssize(last.to);
  Note(stream_->CopyToHost(reported_.data(), reports_memory_.data(),
                           floats * static_cast<int64_t>(sizeof(float))));
}

void CudaBackend::AddReports() {
  for (const Report& report : std::exchange(reports_, {})) {
    const float* from = reported_.As<float>() + report.from;
    for (size_t i = 0; i < report.to.size(); ++i) report.to[i] += from[i];
  }
}

absl::Status CudaBackend::EndStep() {
  Note(Flush());
  FetchReports();
  in_step_ = false;
  bucket_ = 0;
  absl::Status status = Finish();
  if (!status.ok()) {
    reports_.clear();
    tentative_.Forget();
  }
  AddReports();
  return status;
}

absl::Status CudaBackend::Commit(std::span<const int32_t> accepted) {
  auto segments = tentative_.Take(accepted);
  if (!segments.ok()) return segments.status();
  const AttentionPlan plan(tentative_.spec(), tentative_.layout(), *segments, /*decodes=*/false);
  Begin(tentative_.layout(), plan, /*bucket=*/0);
  tentative_.Append(plan_, recorded_);
  return EndStep();
}

void CudaBackend::Embed(std::span<const int64_t> ids, const LinearWeights& table, bool accumulate,
                        Matrix x) {
  x.rows = PaddedRows(x.rows, {x});
  const int64_t* on_device = Put(ids, x.rows);
  recorded_.push_back(
      EmbedOperation{on_device, static_cast<const PackedLinear&>(table).view, accumulate, x});
}

void CudaBackend::Norm(Matrix x, const NormWeights& weights, Matrix out) {
  x.rows = out.rows = PaddedRows(x.rows, {x, out});
  recorded_.push_back(NormOperation{x, static_cast<const PackedNorm&>(weights).view, out});
}

void CudaBackend::Linear(Matrix x, const LinearWeights& weights, bool accumulate, Matrix y) {
  x.rows = y.rows = PaddedRows(x.rows, {x, y});
  recorded_.push_back(
      LinearOperation{x, static_cast<const PackedLinear&>(weights).view, accumulate, y});
}

void CudaBackend::Attend(const AttentionWeights& weights, int32_t layer, Matrix qkv, Matrix out) {
  qkv.rows = out.rows = PaddedRows(qkv.rows, {qkv, out});
  DevicePlan plan = plan_;
  if (bucket_ != 0) plan.decode_rows = out.rows;
  // Not only when there are such rows now: later steps with the same graph may have some.
  const bool clears = bucket_ > kFewRows && out.rows == bucket_;
  const DeviceAttention& attention = static_cast<const PackedAttention&>(weights).view;
  tentative_.Keep(segments_, attention, layer, qkv, recorded_);
  for (const HeadCopy& copy : copies_) {
    auto* heads = reinterpret_cast<float*>(copy.slot + layout_.HeadOffset(layer, 0));
    const int64_t floats = CopyBytes(layout_) / static_cast<int64_t>(sizeof(float));
    auto* to = reinterpret_cast<float*>(plan_.scratch + copy.to);
    recorded_.push_back(CopyOperation{{heads, 1, floats}, to});
  }
  recorded_.push_back(AttendOperation{attention, layout_, plan, layer, qkv, out, clears});
}

int64_t CudaBackend::BothWaysBytes(const AttentionSpec& spec,
                                   std::span<const int64_t> lengths) const {
  const EncoderMemoryLayout layout(spec, EncoderPlan(spec, lengths).places());
  return std::max<int64_t>(layout.floats, 1) * static_cast<int64_t>(sizeof(float));
}

int64_t CudaBackend::AttendBothWays(const AttentionWeights& weights, int64_t rows, BothWays& work) {
  const DeviceAttention& attention = static_cast<const PackedAttention&>(weights).view;
  const EncoderPlan plan(attention.spec, work.lengths);
  const auto* numbers = Put<int64_t>(plan.numbers(), plan.at().Size());
  const int64_t done =
      RunPiece(attention.spec, plan, attention.query_norm != nullptr, rows * kRowsAtOnce, work,
               [&](const EncoderTasks& tasks) {
                 if (tasks.step == EncoderStep::kAngles) return;
                 recorded_.push_back(MakeEncoderOperation(attention, plan, numbers, work, tasks));
               });
  return (done + kRowsAtOnce - 1) / kRowsAtOnce;
}

void CudaBackend::Activate(MlpKind kind, Matrix in, Matrix out) {
  in.rows = out.rows = PaddedRows(in.rows, {in, out});
  recorded_.push_back(ActivateOperation{kind, in, out});
}

void CudaBackend::GatherRows(Matrix x, std::span<const int32_t> rows, Matrix out) {
  out.rows = PaddedRows(out.rows, {out});
  x.rows = PaddedRows(x.rows, {x});
  recorded_.push_back(GatherOperation{x, Put(rows, out.rows), out});
}

absl::Status CudaBackend::Flush() {
  if (absl::Status status = UseDevice(device_); !status.ok()) return status;
  const std::vector<Operation> operations = Fused(std::exchange(recorded_, {}));
  if (!error_.ok() || operations.empty()) return absl::OkStatus();  // Finish() reports the error
  const absl::StatusOr<bool> moved = executor_->Prepare(operations);
  if (!moved.ok()) return moved.status();
  if (*moved) graphs_.Clear();
  busy_ = true;
  if (absl::Status status = data_.Upload(*stream_); !status.ok()) return status;
  if (bucket_ == 0) return executor_->Run(*stream_, operations);
  return graphs_.Run(*stream_, *executor_, operations);
}

absl::Status CudaBackend::Finish() {
  if (std::exchange(busy_, false)) Note(executor_->Finish(*stream_));
  if (!in_step_ && data_.Clear()) graphs_.Clear();
  return std::exchange(error_, absl::OkStatus());
}

absl::Status CudaBackend::CopyOut(const std::byte* from, std::span<std::byte> out) {
  Note(Flush());
  if (error_.ok()) Note(transfer_.Out(*stream_, from, out));
  return Finish();
}

absl::Status CudaBackend::CopyToHost(Matrix x, std::span<float> out) {
  const auto bytes = static_cast<size_t>(x.rows * x.cols) * sizeof(float);
  return CopyOut(reinterpret_cast<const std::byte*>(x.data),
                 std::as_writable_bytes(out).first(bytes));
}

absl::Status CudaBackend::CopyIn(std::span<const std::byte> in, std::byte* to) {
  Note(Flush());
  if (error_.ok()) Note(transfer_.In(*stream_, in, to));
  return Finish();
}

absl::Status CudaBackend::CopySlot(SlotHandle from, SlotHandle to) {
  Note(Flush());
  Note(stream_->CopyOnDevice(DeviceSlots::Find(to), DeviceSlots::Find(from),
                             from.memory->layout.slot_bytes));
  busy_ = true;
  return Finish();
}

absl::Status CudaBackend::SaveSlot(SlotHandle slot, std::span<std::byte> out) {
  absl::Status status = CopyOut(DeviceSlots::Find(slot), out);
  if (status.ok()) KeysToStrips(slot.memory->layout, out);
  return status;
}

absl::Status CudaBackend::RestoreSlot(std::span<const std::byte> in, SlotHandle slot) {
  restored_.assign(in.begin(), in.end());
  KeysToRows(slot.memory->layout, restored_);
  return CopyIn(restored_, DeviceSlots::Find(slot));
}

absl::Status CudaBackend::Sample(Matrix logits, std::span<const RowSampling> rows,
                                 std::span<SampledRow> out) {
  const SamplingLists lists(rows);
  logits.rows = PaddedRows(logits.rows, {logits});
  SampleOperation operation{.logits = logits, .top_stride = lists.top_stride};
  const absl::StatusOr<bool> moved = sampling_.Reserve(operation, !lists.edits.empty());
  Note(moved.status());
  if (moved.ok() && *moved) graphs_.Clear();
  operation.rows = Put<DeviceRowSampling>(lists.rows, logits.rows);
  operation.edits = Put<TokenValue>(lists.edits, static_cast<int64_t>(lists.edits.size()));
  recorded_.emplace_back(operation);
  Note(Flush());
  if (error_.ok()) Note(sampling_.Fetch(*stream_, operation));
  absl::Status status = Finish();
  if (status.ok()) sampling_.Read(operation, rows, out);
  return status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(int device) {
  return CudaBackend::Create(device);
}

}  // namespace fmaserver::kernels::cuda
