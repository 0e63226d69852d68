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

/// Holds little, because kernels keep it in registers while they attend.
class VisibleColumns {
 public:
  static constexpr int kParts = 3;

  /// For queries of `fine_group`.
  FMA_DEVICE VisibleColumns(const AttentionSpec& spec, const SlotLayout& layout, int64_t fine_group)
      : spec_(spec), layout_(layout), fine_group_(fine_group) {
    const Hierarchy& h = layout.hierarchy;
    sinks_ = fine_group >= Hierarchy::kFirstGroupWithSinks ? h.sink_tokens : 0;
    near_begin_ = sinks_;
    for (int level = 1; level <= h.num_levels; ++level) near_begin_ += WidthOf(level);
  }

  /// How many entries there are when near tokens end before `end`, which lies in the fine group or
  /// just after it.
  FMA_DEVICE int32_t Count(int64_t end) const {
    return near_begin_ + static_cast<int32_t>(end - NearFirst());
  }

  /// Where a part ends for queries at positions [first, end); the next begins there.
  FMA_DEVICE int32_t PartEnd(int part, int64_t first, int64_t end) const {
    if (part == kParts - 1) return Count(end);
    int32_t far = 0;
    for (int level = FirstUnplaced(); level <= layout_.hierarchy.num_levels; ++level) {
      far += WidthOf(level);
    }
    // Sinks are a part of their own only where no other part meets them in their form.
    const int64_t limit = spec_.max_distance;
    const bool sinks_are_far = FarIsPlain() || (limit > 0 && first > limit);
    const bool all_placed = !sinks_are_far && far == 0 && (limit == 0 || end - 1 <= limit);
    if (all_placed || (part == 0 && sinks_are_far)) return 0;
    return part == 0 ? sinks_ : sinks_ + far;
  }
  FMA_DEVICE static QueryForm FormOf(int part) {
    return part == 0 ? QueryForm::kSinks : part == 1 ? QueryForm::kFar : QueryForm::kPlaced;
  }

  /// The entries of a VisibleKey's `level` are [first, end); near tokens end before `near_end`.
  struct Entries {
    int32_t first;
    int32_t end;
  };
  FMA_DEVICE Entries EntriesOf(int level, int64_t near_end) const {
    if (level == VisibleKey::kNear) return {near_begin_, Count(near_end)};
    if (level == VisibleKey::kSink) return {0, sinks_};
    int32_t first = sinks_;
    for (int before = FirstListed(); before != level; before = LevelAfter(before)) {
      first += WidthOf(before);
    }
    return {first, first + WidthOf(level)};
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
    key.level = FirstListed();
    for (int32_t width = WidthOf(key.level); rest >= width; width = WidthOf(key.level)) {
      rest -= width;
      key.level = LevelAfter(key.level);
    }
    key.group = Groups(key.level).first + rest / layout_.hierarchy.rank;
    key.r = rest % layout_.hierarchy.rank;
    return key;
  }

 private:
  /// Whether the far field meets queries that are not rotated, although near tokens do.
  FMA_DEVICE bool FarIsPlain() const {
    return spec_.positions == PositionEmbedding::kRope && !spec_.FarIsRotated();
  }
  /// From this level on, keys are not met in their places.
  FMA_DEVICE int FirstUnplaced() const { return FarIsPlain() ? 1 : layout_.first_distant_level; }
  /// The order of levels in the list: first those that are not placed.
  FMA_DEVICE int FirstListed() const {
    return FirstUnplaced() > layout_.hierarchy.num_levels ? 1 : FirstUnplaced();
  }
  FMA_DEVICE int LevelAfter(int level) const {
    return level == layout_.hierarchy.num_levels ? 1 : level + 1;
  }
  FMA_DEVICE GroupRange Groups(int level) const {
    return Hierarchy::FarGroups(level, fine_group_).Existing();
  }
  FMA_DEVICE int32_t WidthOf(int level) const {
    const GroupRange groups = Groups(level);
    return static_cast<int32_t>(groups.end - groups.first) * layout_.hierarchy.rank;
  }
  FMA_DEVICE int64_t NearFirst() const {
    return (fine_group_ > 0 ? fine_group_ - 1 : 0) * layout_.hierarchy.group_size;
  }

  const AttentionSpec& spec_;
  const SlotLayout& layout_;
  int64_t fine_group_;
  int32_t sinks_;
  int32_t near_begin_;  // entries before the near tokens
};

/// Where a visible key lies in its slot.
FMA_DEVICE int64_t ColumnOf(const SlotLayout& layout, const VisibleKey& key) {
  if (key.level == VisibleKey::kNear) return layout.NearColumn(key.position);
  if (key.level == VisibleKey::kSink) return key.position;
  return layout.FarColumn(key.level, key.group) + key.r;
}

}  // namespace fmaserver::kernels::cuda
