// What the queries of one fine group see in a slot, as one list: sinks, the far field level by
// level, near tokens. Entry e of the list is a column of the slot, or a key of zeros that is not
// listed but counted (padding).
//
// Queries meet the list in up to three parts, each in one form: sinks, then the levels that do not
// carry rotary positions, then everything that is met in its place.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/query.h"
#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/slot_layout.h"
#include "kernels/fma/spec.h"

namespace fmaserver::kernels::cuda {

/// `level` is 1..L for the far field, kSink or kNear for tokens.
struct VisibleKey {
  static constexpr int kSink = 0;
  static constexpr int kNear = -1;

  int level = kNear;
  int64_t group = 0;     ///< of the far field
  int r = 0;             ///< of the far field
  int64_t position = 0;  ///< of a token
};

class VisibleColumns {
 public:
  static constexpr int kParts = 3;

  /// For queries at positions [first, end), which lie in one fine group.
  FMA_DEVICE VisibleColumns(const AttentionSpec& spec, const SlotLayout& layout, int64_t first,
                            int64_t end)
      : hierarchy_(layout.hierarchy), fine_group_(layout.hierarchy.FineGroup(first)) {
    const bool turns = spec.positions == PositionEmbedding::kRope;
    const bool plain = turns && !spec.FarIsRotated();
    first_unplaced_ = plain ? 1 : layout.first_distant_level;
    sinks_ = fine_group_ >= Hierarchy::kFirstGroupWithSinks ? hierarchy_.sink_tokens : 0;
    int32_t unplaced = 0;
    near_begin_ = sinks_;
    for (int level = 1; level <= hierarchy_.num_levels; ++level) {
      const int32_t width = WidthOf(level);
      near_begin_ += width;
      if (level >= first_unplaced_) unplaced += width;
    }
    count_ = near_begin_ + static_cast<int32_t>(end - NearFirst());
    // Sinks are a part of their own only where no other part meets them in their form.
    const bool sinks_are_far = plain || (spec.max_distance > 0 && first > spec.max_distance);
    const bool sinks_are_placed =
        !sinks_are_far && (spec.max_distance == 0 || end - 1 <= spec.max_distance);
    const bool all_placed = sinks_are_placed && unplaced == 0;
    sinks_end_ = sinks_are_far || all_placed ? 0 : sinks_;
    far_end_ = all_placed ? 0 : sinks_ + unplaced;
  }

  FMA_DEVICE int32_t count() const { return count_; }

  /// Entries [PartBegin(part), PartEnd(part)) meet queries in the form FormOf(part).
  FMA_DEVICE int32_t PartBegin(int part) const { return part == 0 ? 0 : PartEnd(part - 1); }
  FMA_DEVICE int32_t PartEnd(int part) const {
    return part == 0 ? sinks_end_ : part == 1 ? far_end_ : count_;
  }
  FMA_DEVICE static QueryForm FormOf(int part) {
    return part == 0 ? QueryForm::kSinks : part == 1 ? QueryForm::kFar : QueryForm::kPlaced;
  }

  FMA_DEVICE VisibleKey At(int32_t entry) const {
    VisibleKey key;
    if (entry >= near_begin_) {
      key.position = NearFirst() + entry - near_begin_;
      return key;
    }
    key.level = VisibleKey::kSink;
    key.position = entry;
    int32_t rest = entry - sinks_;
    if (rest < 0) return key;
    // First the levels that are not placed.
    key.level = first_unplaced_ > hierarchy_.num_levels ? 1 : first_unplaced_;
    for (int32_t width = WidthOf(key.level); rest >= width; width = WidthOf(key.level)) {
      rest -= width;
      key.level = key.level == hierarchy_.num_levels ? 1 : key.level + 1;
    }
    key.group = Groups(key.level).first + rest / hierarchy_.rank;
    key.r = rest % hierarchy_.rank;
    return key;
  }

 private:
  FMA_DEVICE GroupRange Groups(int level) const {
    return Hierarchy::FarGroups(level, fine_group_).Existing();
  }
  FMA_DEVICE int32_t WidthOf(int level) const {
    const GroupRange groups = Groups(level);
    return static_cast<int32_t>(groups.end - groups.first) * hierarchy_.rank;
  }
  FMA_DEVICE int64_t NearFirst() const {
    return (fine_group_ > 0 ? fine_group_ - 1 : 0) * hierarchy_.group_size;
  }

  const Hierarchy& hierarchy_;
  int64_t fine_group_;
  int32_t first_unplaced_;  // level
  int32_t sinks_;
  int32_t near_begin_;  // entries before the near tokens
  int32_t count_;
  int32_t sinks_end_;  // of the parts
  int32_t far_end_;
};

/// Where a visible key lies in its slot.
FMA_DEVICE int64_t ColumnOf(const SlotLayout& layout, const VisibleKey& key) {
  if (key.level == VisibleKey::kNear) return layout.NearColumn(key.position);
  if (key.level == VisibleKey::kSink) return key.position;
  return layout.FarColumn(key.level, key.group) + key.r;
}

}  // namespace fmaserver::kernels::cuda
