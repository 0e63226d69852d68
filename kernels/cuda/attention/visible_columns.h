// What the queries of one fine group see in a slot, as one list: sinks, summaries level by level,
// near tokens. Entry e of the list is a column of the slot, or a key of zeros that is not listed
// but counted (padding).
#pragma once

#include <cstdint>

#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/slot_layout.h"
#include "kernels/fma/spec.h"

namespace fmaserver::kernels::cuda {

/// `level` is 1..L for summaries, kSink or kNear for tokens.
struct VisibleKey {
  static constexpr int kSink = 0;
  static constexpr int kNear = -1;

  int level = kNear;
  int64_t group = 0;     ///< of a summary
  int r = 0;             ///< of a summary
  int64_t position = 0;  ///< of a token
};

class VisibleColumns {
 public:
  /// Near tokens end before `end`, which lies in `fine_group` or just after it.
  FMA_DEVICE VisibleColumns(const Hierarchy& hierarchy, int64_t fine_group, int64_t end)
      : hierarchy_(hierarchy), fine_group_(fine_group) {
    sinks_ = fine_group >= Hierarchy::kFirstGroupWithSinks ? hierarchy.sink_tokens : 0;
    far_end_ = sinks_;
    for (int level = 1; level <= hierarchy.num_levels; ++level) {
      const GroupRange groups = Hierarchy::FarGroups(level, fine_group).Existing();
      far_end_ += static_cast<int32_t>(groups.end - groups.first) * hierarchy.rank;
    }
    count_ = far_end_ + static_cast<int32_t>(end - NearFirst());
  }

  FMA_DEVICE int32_t count() const { return count_; }
  /// Entries before far_end() are sinks and summaries; the rest are near tokens.
  FMA_DEVICE int32_t far_end() const { return far_end_; }

  FMA_DEVICE VisibleKey At(int32_t entry) const {
    VisibleKey key;
    if (entry >= far_end_) {
      key.position = NearFirst() + entry - far_end_;
      return key;
    }
    key.level = VisibleKey::kSink;
    key.position = entry;
    int32_t rest = entry - sinks_;
    while (rest >= 0) {
      ++key.level;
      const GroupRange groups = Hierarchy::FarGroups(key.level, fine_group_).Existing();
      const auto width = static_cast<int32_t>(groups.end - groups.first) * hierarchy_.rank;
      if (rest < width) {
        key.group = groups.first + rest / hierarchy_.rank;
        key.r = rest % hierarchy_.rank;
        break;
      }
      rest -= width;
    }
    return key;
  }

 private:
  FMA_DEVICE int64_t NearFirst() const {
    return (fine_group_ > 0 ? fine_group_ - 1 : 0) * hierarchy_.group_size;
  }

  const Hierarchy& hierarchy_;
  int64_t fine_group_;
  int32_t sinks_;
  int32_t far_end_;  // entries before the near tokens
  int32_t count_;
};

/// Where a visible key lies in its slot.
FMA_DEVICE int64_t ColumnOf(const SlotLayout& layout, const VisibleKey& key) {
  if (key.level == VisibleKey::kNear) return layout.NearColumn(key.position);
  if (key.level == VisibleKey::kSink) return key.position;
  return layout.FarColumn(key.level, key.group) + key.r;
}

}  // namespace fmaserver::kernels::cuda
