// Prefill, after attention: writes the slot's new state from the scratch. Blocks are (segment, KV
// head); y: BlocksY(), first those that share the tokens, then one for each level.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/prefill_head.h"

namespace fmaserver::kernels::cuda {

template <typename T>
struct PrefillCommitKernel : PrefillParameters {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "prefill_commit";
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr int kTokenBlocks = 8;

  static constexpr int64_t BlocksY(const SlotLayout& layout) {
    return kTokenBlocks + layout.hierarchy.num_levels;
  }

  FMA_DEVICE void operator()() const {
    const auto [item, kv_head] = ThisBlock(attention.spec);
    const PrefillHead<T> head(*this, item, kv_head);
    const auto y = static_cast<int>(BlockIndexY());
    if (y < kTokenBlocks) {
      CopyTokens(head, y);
    } else {
      CopySummaries(head, y - kTokenBlocks + 1);
      CopyOpenSums(head, y - kTokenBlocks + 1);
    }
  }

 private:
  /// Copies the share `part` of the tokens that the slot keeps.
  FMA_DEVICE void CopyTokens(const PrefillHead<T>& head, int part) const {
    const Hierarchy& h = layout.hierarchy;
    const int start = part * kWarps + WarpIndex();
    constexpr int kStep = kTokenBlocks * kWarps;
    // Only the last 2m tokens go to the ring, so no two go to the same place.
    const int64_t kept = head.end() - 2 * int64_t{h.group_size};
    const int64_t first = kept > head.position() ? kept : head.position();
    for (int64_t token = first + start; token < head.end(); token += kStep) {
      Copy(head, token - head.position(), layout.NearColumn(token));
    }
    const int64_t sinks = h.sink_tokens < head.end() ? h.sink_tokens : head.end();
    for (int64_t token = head.position() + start; token < sinks; token += kStep) {
      Copy(head, head.scratch.SinkEntry(token), token);
    }
  }

  /// A warp copies the key and the value of an entry.
  FMA_DEVICE void Copy(const PrefillHead<T>& head, int64_t entry, int64_t column) const {
    for (const bool is_key : {true, false}) {
      head.cache.CopyVectorTo(is_key, column, head.Placed(is_key, entry),
                              head.PlacedScale(is_key, entry));
    }
  }

  FMA_DEVICE void CopySummaries(const PrefillHead<T>& head, int level) const {
    const int64_t end = head.scratch.EndCompleted(level);
    const int64_t kept = end - kGroupsKept;
    const int64_t completed = head.scratch.FirstCompleted(level);
    const int64_t first = kept > completed ? kept : completed;
    const int rank = layout.hierarchy.rank;
    for (int64_t i = WarpIndex(); i < (end - first) * rank; i += kWarps) {
      const int64_t group = first + i / rank;
      const auto r = static_cast<int>(i % rank);
      Copy(head, head.scratch.SummaryEntry(level, group, r), layout.FarColumn(level, group) + r);
    }
  }

  /// The scratch has sums of the open group if tokens or a child group of the slice went into it.
  FMA_DEVICE void CopyOpenSums(const PrefillHead<T>& head, int level) const {
    const int64_t group = head.scratch.EndCompleted(level);
    const bool from_tokens =
        level == 1 || attention.spec.downsampling != Downsampling::kHierarchical;
    const bool changed = from_tokens ? !layout.hierarchy.CompletesGroup(level, head.end())
                                     : head.scratch.Completed(level - 1, 2 * group);
    if (!changed) return;
    const auto dim = static_cast<int>(layout.padded_dim);
    const int per_kind = layout.hierarchy.rank * dim;
    for (int i = ThreadIndex(); i < 2 * per_kind; i += kThreads) {
      const bool of_keys = i < per_kind;
      const int r = i % per_kind / dim;
      Store(head.cache.Sum(of_keys, level, r, i % dim),
            Load(head.Open(of_keys, level, r) + i % dim));
    }
  }
};

}  // namespace fmaserver::kernels::cuda
