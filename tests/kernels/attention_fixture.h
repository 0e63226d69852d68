// One attention layer on any backend, fed step by step.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "tests/kernels/backends.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {

/// The archive of one sequence, of which every byte that nobody wrote is 0xFF: NaN as a number.
class TestArchive {
 public:
  explicit TestArchive(const kernels::ArchiveLayout& layout) : layout_(layout) {}

  /// Makes it long enough for `tokens` tokens.
  std::span<kernels::ArchiveGroup* const> Reach(kernels::Backend& backend, int64_t tokens) {
    while (std::ssize(groups_) < layout_.Groups(tokens)) {
      memory_.emplace_back(layout_.TokenBytes(), std::byte{0xFF});
      auto group = backend.MakeGroup(layout_, memory_.back());
      EXPECT_TRUE(group.ok()) << group.status();
      const std::vector<std::byte> poison(layout_.SketchBytes(), std::byte{0xFF});
      EXPECT_TRUE(backend.RestoreSketches(poison, **group).ok());
      groups_.push_back(group->get());
      owned_.push_back(*std::move(group));
    }
    return std::span(groups_).first(layout_.Groups(tokens));
  }

  /// All bytes of the groups after `tokens` tokens.
  std::vector<std::byte> Bytes(kernels::Backend& backend, int64_t tokens) const {
    std::vector<std::byte> bytes;
    for (int64_t i = 0; i < layout_.Groups(tokens); ++i) {
      bytes.insert(bytes.end(), memory_[i].begin(), memory_[i].end());
      std::vector<std::byte> sketches(layout_.SketchBytes());
      EXPECT_TRUE(backend.SaveSketches(*groups_[i], sketches).ok());
      bytes.insert(bytes.end(), sketches.begin(), sketches.end());
    }
    return bytes;
  }

  const std::vector<kernels::ArchiveGroup*>& groups() const { return groups_; }
  const kernels::ArchiveLayout& layout() const { return layout_; }

 private:
  kernels::ArchiveLayout layout_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<std::unique_ptr<kernels::ArchiveGroup>> owned_;
  std::vector<kernels::ArchiveGroup*> groups_;
};

/// A small one that selects tokens.
inline kernels::AttentionSpec Selector() {
  kernels::AttentionSpec spec;
  spec.num_heads = 4;
  spec.num_kv_heads = 2;
  spec.head_dim = 16;
  spec.hierarchy = {.group_size = 8, .rank = 3, .num_levels = 3, .sink_tokens = 2};
  spec.downsampling = kernels::Downsampling::kSelect;
  spec.far_positions = kernels::FarPositions::kOwn;
  spec.select_lag = 2;
  spec.select_novel = 1;
  return spec;
}

class AttentionTest : public BackendTest {
 protected:
  /// One of the types of cache, another in every round.
  static kernels::CacheType TypeOfRound(int round) {
    constexpr std::array kTypes = {kernels::CacheType::kF32, kernels::CacheType::kBF16,
                                   kernels::CacheType::kInt8};
    return kTypes[round % 3];
  }
  /// With an archive of the same type or of one with fewer bytes, each pair in one of six rounds.
  static kernels::SlotLayout LayoutOfRound(const kernels::AttentionSpec& spec, int round) {
    using enum kernels::CacheType;
    constexpr std::array<std::array<kernels::CacheType, 2>, 6> kPairs = {{{kF32, kF32},
                                                                          {kBF16, kBF16},
                                                                          {kInt8, kInt8},
                                                                          {kF32, kInt8},
                                                                          {kBF16, kInt8},
                                                                          {kF32, kBF16}}};
    const auto& [slot, archive] = kPairs[round % 6];
    return {spec, 1, slot, archive};
  }

  /// A slot like a fresh or used one, in which everything may be wrong: all its numbers are NaN.
  std::unique_ptr<kernels::SlotMemory> PoisonedSlot(const kernels::SlotLayout& layout) {
    auto slot = backend().AllocateSlots(layout, 1);
    EXPECT_TRUE(slot.ok());
    const std::vector<std::byte> poison(layout.slot_bytes, std::byte{0xFF});
    EXPECT_TRUE(backend().RestoreSlot(poison, {slot->get()}).ok());
    return *std::move(slot);
  }

  std::unique_ptr<kernels::SlotMemory> SlotOfZeros(const kernels::SlotLayout& layout) {
    auto slot = backend().AllocateSlots(layout, 1);
    EXPECT_TRUE(slot.ok());
    const std::vector<std::byte> zeros(static_cast<size_t>(layout.slot_bytes));
    EXPECT_TRUE(backend().RestoreSlot(zeros, {slot->get()}).ok());
    return *std::move(slot);
  }

  std::vector<std::byte> BytesOf(const kernels::SlotMemory& slot) {
    std::vector<std::byte> bytes(slot.layout.slot_bytes);
    EXPECT_TRUE(backend().SaveSlot({&slot}, bytes).ok());
    return bytes;
  }

  struct Part {
    const kernels::SlotMemory* slot;
    int64_t position;
    int32_t rows;
    const std::vector<float>* qkv;  // of the whole sequence
    bool tentative = false;
    TestArchive* archive = nullptr;  // null: it opens nothing
    std::span<float> unit_weights = {};
    std::span<float> attention_shares = {};
  };

  /// Runs one step of one layer, the first unless `layer` says; returns [rows of all parts, H*d].
  std::vector<float> Step(const kernels::AttentionWeights& weights,
                          const kernels::AttentionSpec& spec, const std::vector<Part>& parts,
                          int32_t layer = 0) {
    std::vector<kernels::Segment> segments;
    std::vector<float> qkv;
    for (const Part& part : parts) {
      segments.push_back({{part.slot}, part.position, part.rows, part.tentative});
      segments.back().attention_shares = part.attention_shares;
      if (part.archive != nullptr) {
        segments.back().opens = true;
        segments.back().archive = part.archive->Reach(backend(), part.position + part.rows);
        segments.back().unit_weights = part.unit_weights;
      }
      const auto first = part.qkv->begin() + part.position * spec.QkvColumns();
      qkv.insert(qkv.end(), first, first + part.rows * spec.QkvColumns());
    }
    const int64_t rows = static_cast<int64_t>(qkv.size()) / spec.QkvColumns();
    const int64_t columns = int64_t{spec.num_heads} * spec.head_dim;
    const DeviceMatrix input(backend(), rows, qkv);
    const DeviceMatrix out(backend(), rows, columns);
    backend().BeginStep(spec, segments);
    backend().Attend(weights, layer, input, out);
    const absl::Status status = backend().EndStep();
    EXPECT_TRUE(status.ok()) << status;
    return out.Read();
  }

  /// Feeds a whole sequence in pieces of `chunk()` rows; it opens units where the model does.
  template <typename Chunk>
  std::vector<float> Feed(const kernels::AttentionWeights& weights,
                          const kernels::AttentionSpec& spec, const kernels::SlotLayout& layout,
                          const std::vector<float>& qkv, Chunk chunk) {
    const auto slot = PoisonedSlot(layout);
    TestArchive archive(layout.Archive(spec));
    TestArchive* const opens = spec.Opens() ? &archive : nullptr;
    const auto n = static_cast<int64_t>(qkv.size()) / spec.QkvColumns();
    std::vector<float> out;
    for (int64_t position = 0; position < n;) {
      const auto rows = static_cast<int32_t>(std::min<int64_t>(chunk(), n - position));
      const auto part = Step(weights, spec, {{slot.get(), position, rows, &qkv, false, opens}});
      out.insert(out.end(), part.begin(), part.end());
      position += rows;
    }
    return out;
  }
};

}  // namespace fmaserver::testing
