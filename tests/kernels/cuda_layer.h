// One attention layer on the emulated device, below the backend: kernels and their plan.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/archive_group.h"
#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/attention/attention_weights.h"
#include "kernels/cuda/runtime/runtime.h"
#include "kernels/cuda/unit_cache.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {

/// The archive of one sequence.
class CudaArchive {
 public:
  explicit CudaArchive(const kernels::ArchiveLayout& layout) : layout_(layout) {}

  /// Makes it long enough for `tokens` tokens.
  std::span<kernels::ArchiveGroup* const> Reach(int64_t tokens) {
    while (std::ssize(groups_) < layout_.Groups(tokens)) {
      memory_.emplace_back(layout_.TokenBytes());
      owned_.push_back(*kernels::cuda::DeviceArchiveGroup::Make(0, layout_, memory_.back()));
      groups_.push_back(owned_.back().get());
    }
    return std::span(groups_).first(layout_.Groups(tokens));
  }

  /// Of a group, in host memory.
  std::span<std::byte> Tokens(int64_t group) { return memory_[group]; }
  std::byte* Sketches(int64_t group) const { return owned_[group]->view().sketches; }

 private:
  kernels::ArchiveLayout layout_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<std::unique_ptr<kernels::cuda::DeviceArchiveGroup>> owned_;
  std::vector<kernels::ArchiveGroup*> groups_;
};

/// Runs steps of one layer on the emulated device.
class CudaLayer {
 public:
  CudaLayer(const ReferenceAttention& layer, kernels::CacheType type)
      : spec_(layer.spec), layout_(layer.spec, 1, type) {
    const HostLayer host(layer);
    auto packed = kernels::cuda::PackedAttention::Pack(spec_, host.view(), *stream_);
    EXPECT_TRUE(packed.ok()) << packed.status();
    weights_ = *std::move(packed);
  }

  const kernels::SlotLayout& layout() const { return layout_; }
  /// From now on there are copies of units in `bytes` of the device's memory.
  void CacheUnits(int64_t bytes) {
    auto cache = kernels::cuda::UnitCache::Create(0, layout_.Archive(spec_), bytes);
    EXPECT_TRUE(cache.ok() && *cache != nullptr) << cache.status();
    unit_cache_ = *std::move(cache);
  }
  kernels::cuda::Memory NewSlot() {
    return *kernels::cuda::Memory::Allocate(kernels::cuda::Memory::Kind::kDevice,
                                            layout_.slot_bytes);
  }

  struct Part {
    std::byte* slot;
    int64_t position;
    int32_t rows;
    std::span<const float> qkv;      // [rows, QkvColumns()]
    CudaArchive* archive = nullptr;  // null: it opens nothing
  };

  /// Runs one step; returns [rows of all parts, H*d].
  std::vector<float> Step(const std::vector<Part>& parts) {
    std::vector<kernels::SlotSegment> segments;
    std::vector<float> qkv;
    int64_t rows = 0;
    for (const Part& part : parts) {
      segments.push_back({part.slot, part.position, part.rows, rows});
      if (part.archive != nullptr) {
        segments.back().opens = true;
        segments.back().archive = part.archive->Reach(part.position + part.rows);
      }
      qkv.insert(qkv.end(), part.qkv.begin(), part.qkv.end());
      rows += part.rows;
    }
    const kernels::cuda::AttentionPlan plan(spec_, layout_, segments);
    const kernels::cuda::Memory input = Upload(qkv);
    const kernels::cuda::Memory decode = Upload(plan.decode);
    const kernels::cuda::Memory segments_on_device = Upload(plan.segments);
    const kernels::cuda::Memory groups = Upload(plan.groups);
    const kernels::cuda::Memory blocks = Upload(plan.blocks);
    const kernels::cuda::Memory wave_rows = Upload(plan.rows);
    const kernels::cuda::Memory archive = Upload(plan.archive);
    const kernels::cuda::Memory scratch = *kernels::cuda::Memory::Allocate(
        kernels::cuda::Memory::Kind::kDevice, std::max<int64_t>(1, plan.scratch_bytes));
    const int64_t columns = int64_t{spec_.num_heads} * spec_.head_dim;
    const kernels::cuda::Memory output =
        *kernels::cuda::Memory::Allocate(kernels::cuda::Memory::Kind::kDevice, rows * columns * 4);
    const kernels::cuda::DevicePlan on_device = {
        .decode = decode.As<kernels::cuda::DecodeRow>(),
        .segments = segments_on_device.As<kernels::cuda::PrefillSegment>(),
        .groups = groups.As<kernels::cuda::GroupTask>(),
        .blocks = blocks.As<kernels::cuda::QueryBlock>(),
        .rows = wave_rows.As<kernels::cuda::DecodeRow>(),
        .waves = plan.waves.data(),
        .archive = archive.As<kernels::cuda::DeviceGroup>(),
        .unit_cache =
            unit_cache_ == nullptr ? kernels::cuda::DeviceUnitCache() : unit_cache_->view(),
        .scratch = scratch.data(),
        .open_scratch = plan.open_scratch,
        .most_units = plan.most_units,
        .decode_rows = std::ssize(plan.decode),
        .num_segments = std::ssize(plan.segments),
        .num_appended = plan.num_appended,
        .num_groups = std::ssize(plan.groups),
        .num_blocks = std::ssize(plan.blocks),
        .num_waves = std::ssize(plan.waves)};
    const absl::Status status = kernels::cuda::LaunchAttention(
        *stream_, weights_->view, layout_, on_device, 0,
        {input.As<float>(), rows, spec_.QkvColumns()}, {output.As<float>(), rows, columns});
    EXPECT_TRUE(status.ok()) << status;
    std::vector<float> out(rows * columns);
    EXPECT_TRUE(stream_->CopyToHost(out.data(), output.data(), output.bytes()).ok());
    EXPECT_TRUE(stream_->Synchronize().ok());
    return out;
  }

  /// Feeds a whole sequence in pieces of `chunk()` rows.
  template <typename Chunk>
  std::vector<float> Feed(const std::vector<float>& qkv, Chunk chunk) {
    const kernels::cuda::Memory slot = NewSlot();
    CudaArchive archive({spec_, 1, layout_.type});
    CudaArchive* const opens = spec_.Opens() ? &archive : nullptr;
    const auto n = static_cast<int64_t>(qkv.size()) / spec_.QkvColumns();
    std::vector<float> out;
    for (int64_t position = 0; position < n;) {
      const auto rows = static_cast<int32_t>(std::min<int64_t>(chunk(), n - position));
      const auto part = Step({{slot.data(), position, rows, RowsOf(qkv, position, rows), opens}});
      out.insert(out.end(), part.begin(), part.end());
      position += rows;
    }
    return out;
  }

  std::span<const float> RowsOf(const std::vector<float>& qkv, int64_t first, int64_t rows) const {
    return std::span(qkv).subspan(first * spec_.QkvColumns(), rows * spec_.QkvColumns());
  }

  /// Writes bytes of the device.
  void Fill(std::byte* memory, std::span<const std::byte> bytes) {
    EXPECT_TRUE(
        stream_->CopyToDevice(memory, bytes.data(), static_cast<int64_t>(bytes.size())).ok());
    EXPECT_TRUE(stream_->Synchronize().ok());
  }

 private:
  template <typename T>
  kernels::cuda::Memory Upload(const std::vector<T>& values) {
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
    if (bytes == 0) return {};
    kernels::cuda::Memory memory =
        *kernels::cuda::Memory::Allocate(kernels::cuda::Memory::Kind::kDevice, bytes);
    EXPECT_TRUE(stream_->CopyToDevice(memory.data(), values.data(), bytes).ok());
    EXPECT_TRUE(stream_->Synchronize().ok());
    return memory;
  }

  kernels::AttentionSpec spec_;
  kernels::SlotLayout layout_;
  std::unique_ptr<kernels::cuda::Stream> stream_ = *kernels::cuda::Stream::Create();
  std::unique_ptr<kernels::cuda::PackedAttention> weights_;
  std::unique_ptr<kernels::cuda::UnitCache> unit_cache_;
};

}  // namespace fmaserver::testing
