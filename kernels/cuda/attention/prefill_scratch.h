// What a slice of a prompt needs besides its slot while a layer attends: all keys and values that
// are newer than the slot, as the slot would hold them. One block of bytes for each KV head:
//
//   keys, values [entries, D]      elements; a row is a key, rotated where queries need it
//   scales       [2, entries]      bfloat16; of keys, then of values; only beside integers
//   raw          [2, summaries, D] float32; summaries of keys and of values, unrotated
//   open         [2, L, p, D]      float32; running sums of the groups that stay open
//
//   entries: [0, rows)                          the slice's tokens
//            rows + SummaryIndex(l, g, r)       summary r of a group that the slice completed
//            SinkEntry(position)                the slice's sinks as far queries see them
#pragma once

#include <cstdint>

#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels::cuda {

class PrefillScratch {
 public:
  constexpr PrefillScratch(const SlotLayout& layout, int64_t position, int64_t rows)
      : hierarchy_(layout.hierarchy),
        position_(position),
        rows_(rows),
        dim_(layout.padded_dim),
        first_fine_(position / layout.hierarchy.group_size),
        end_fine_((position + rows) / layout.hierarchy.group_size) {
    const int64_t summaries = SummaryIndex(hierarchy_.num_levels + 1, 0, 0);
    const int64_t sinks = hierarchy_.sink_tokens - position;
    summaries_ = summaries;
    entries_ = rows + summaries + (sinks > rows ? rows : sinks > 0 ? sinks : 0);
    constexpr int64_t kAlign = SlotLayout::kAlignment;
    values_ = SlotLayout::RoundUp(entries_ * dim_ * SizeOf(layout.type), kAlign);
    scales_ = 2 * values_;
    raw_ = scales_ + SlotLayout::RoundUp(2 * entries_ * ScaleSize(layout.type), kAlign);
    open_ = raw_ + 2 * summaries * dim_ * int64_t{sizeof(float)};
    const int64_t end = open_ + 2 * layout.SumsPerKind() * int64_t{sizeof(float)};
    head_bytes_ = SlotLayout::RoundUp(end, kAlign);
  }

  constexpr int64_t head_bytes() const { return head_bytes_; }
  constexpr int64_t values_offset() const { return values_; }
  constexpr int64_t scales_offset() const { return scales_; }
  constexpr int64_t raw_offset() const { return raw_; }
  constexpr int64_t open_offset() const { return open_; }

  constexpr int64_t entries() const { return entries_; }

  /// The groups of `level` that end in the slice are [FirstCompleted, EndCompleted).
  constexpr int64_t FirstCompleted(int level) const { return first_fine_ >> (level - 1); }
  constexpr int64_t EndCompleted(int level) const { return end_fine_ >> (level - 1); }
  constexpr bool Completed(int level, int64_t group) const {
    return group >= FirstCompleted(level) && group < EndCompleted(level);
  }

  /// The index of summary `r` of a group that the slice completed.
  constexpr int64_t SummaryIndex(int level, int64_t group, int r) const {
    int64_t groups = 0;
    for (int l = 1; l < level; ++l) groups += EndCompleted(l) - FirstCompleted(l);
    if (level <= hierarchy_.num_levels) groups += group - FirstCompleted(level);
    return groups * hierarchy_.rank + r;
  }
  constexpr int64_t SummaryEntry(int level, int64_t group, int r) const {
    return rows_ + SummaryIndex(level, group, r);
  }
  constexpr int64_t SinkEntry(int64_t position) const {
    return rows_ + summaries_ + position - position_;
  }

  /// Index of the first of [summaries, D] raw floats of keys or of values.
  constexpr int64_t RawIndex(bool of_keys) const { return of_keys ? 0 : summaries_ * dim_; }

 private:
  Hierarchy hierarchy_;
  int64_t position_;
  int64_t rows_;
  int64_t dim_;
  int64_t first_fine_;
  int64_t end_fine_;
  int64_t summaries_ = 0;
  int64_t entries_ = 0;
  int64_t values_ = 0;  // in bytes, like the members below
  int64_t scales_ = 0;
  int64_t raw_ = 0;
  int64_t open_ = 0;
  int64_t head_bytes_ = 0;
};

}  // namespace fmaserver::kernels::cuda
