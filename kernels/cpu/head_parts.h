// One KV head of one segment is one task of a layer's attention. Where the last tasks are too few
// for all threads, those of a single row are divided by query heads. What a query sees and gives is
// its own, and what is summed over queries the last part to end sums in one order, so the division
// changes nothing.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cpu/aligned.h"
#include "kernels/fma/spec.h"
#include "kernels/host/slot_segment.h"

namespace fmaserver::kernels::cpu {

/// What the parts of a KV head leave for the last of them.
class SharedRow {
 public:
  SharedRow(int64_t heads, int64_t columns, int parts)
      : scores(AllocateAligned<float>(heads * columns)),
        scales(static_cast<size_t>(heads)),
        parts_(parts),
        left_(parts) {}

  /// A part has ended. True: it is the last of this layer.
  bool End() {
    if (left_.fetch_sub(1, std::memory_order_acq_rel) > 1) return false;
    left_.store(parts_, std::memory_order_relaxed);
    return true;
  }

  const AlignedArray<float> scores;  ///< [queries per KV head, their stride]
  std::vector<float> scales;         ///< [queries per KV head]

 private:
  const int parts_;
  std::atomic<int> left_;
};

/// Some of the queries of one KV head of one segment.
struct HeadPart {
  int64_t segment = 0;
  int32_t kv_head = 0;
  int64_t first_head = 0;  ///< of the KV head's queries
  int64_t heads = 0;
  SharedRow* shared = nullptr;  ///< null: it has them all
};

class HeadParts {
 public:
  /// For a step with these segments, on so many threads. A query has at most so many scores.
  HeadParts(const AttentionSpec& spec, std::span<const SlotSegment> segments, int threads,
            int64_t score_columns) {
    const int64_t kv_heads = spec.num_kv_heads;
    const int64_t tasks = std::ssize(segments) * kv_heads;
    const int64_t last = AreFew(tasks, threads) ? tasks % threads : 0;
    for (int64_t task = 0; task < tasks; ++task) {
      const HeadPart whole = {task / kv_heads, static_cast<int32_t>(task % kv_heads), 0,
                              spec.QueriesPerKvHead()};
      const bool divides = task >= tasks - last && IsDivisible(segments[whole.segment]);
      Divide(whole, divides ? std::min(threads / last, whole.heads) : 1, score_columns);
    }
  }

  /// Whether so many tasks may leave threads with nothing to do for long.
  static bool AreFew(int64_t tasks, int threads) {
    return threads > 1 && tasks < int64_t{2} * threads;
  }

  std::span<const HeadPart> all() const { return all_; }
  /// The first parts of the heads that are divided. Their tokens must be appended before.
  std::span<const HeadPart> divided() const { return divided_; }

 private:
  /// What somebody wants to know of all queries, and copies of slots, are not shared.
  static bool IsDivisible(const SlotSegment& segment) {
    return segment.rows == 1 && !segment.tentative && segment.unit_weights.empty() &&
           segment.attention_shares.empty();
  }

  void Divide(HeadPart part, int64_t count, int64_t score_columns) {
    const int64_t heads = part.heads;
    if (count > 1) {
      shared_.push_back(std::make_unique<SharedRow>(heads, score_columns, static_cast<int>(count)));
      part.shared = shared_.back().get();
    }
    for (int64_t i = 0; i < count; ++i) {
      part.first_head = heads * i / count;
      part.heads = heads * (i + 1) / count - part.first_head;
      all_.push_back(part);
      if (count > 1 && i == 0) divided_.push_back(part);
    }
  }

  std::vector<HeadPart> all_;
  std::vector<HeadPart> divided_;
  std::vector<std::unique_ptr<SharedRow>> shared_;
};

}  // namespace fmaserver::kernels::cpu
