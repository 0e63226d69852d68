// Where one KV head's part of an archive lies. The counterpart of kernels/cpu/archive-inl.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/archive_layout.h"

namespace fmaserver::kernels::cuda {

class ArchiveHead {
 public:
  /// `groups` are those of the sequence, `head` is the head block of its slot.
  FMA_DEVICE ArchiveHead(const AttentionSpec& spec, const SlotLayout& slot,
                         const DeviceGroup* groups, std::byte* head, int32_t layer, int kv_head)
      : spec_(spec),
        slot_(slot),
        layout_(slot.Archive(spec)),
        groups_(groups),
        head_(head),
        index_(layout_.HeadIndex(layer, kv_head)) {}

  FMA_DEVICE SketchLayout Sketch() const { return layout_.Sketch(); }
  FMA_DEVICE int UnitsPerGroup() const { return static_cast<int>(layout_.UnitsPerGroup()); }

  /// Whether queries of `fine_group` meet all of `group` as if it were max_distance away.
  FMA_DEVICE bool SeemsDistant(int64_t group, int64_t fine_group) const {
    return spec_.max_distance > 0 &&
           (fine_group - group + 1) * layout_.hierarchy.group_size > spec_.max_distance;
  }

  /// The tokens of unit `i` of a group, and both of its sketches: that of the keys in their places,
  /// where it is not kept for good, and the one that is.
  FMA_DEVICE std::byte* Tokens(int64_t group, int i) const {
    return Load(&groups_[group].tokens) + index_ * layout_.HeadTokenBytes() +
           i * layout_.UnitTokenBytes();
  }
  FMA_DEVICE std::byte* PlacedSketch(int64_t group, int i) const {
    return head_ + slot_.sketches_offset +
           group % spec_.GroupsInPlace() * layout_.HeadSketchBytes() + i * Sketch().bytes;
  }
  FMA_DEVICE std::byte* KeptSketch(int64_t group, int i) const {
    return Load(&groups_[group].sketches) + index_ * layout_.HeadSketchBytes() + i * Sketch().bytes;
  }

 private:
  const AttentionSpec& spec_;
  const SlotLayout& slot_;
  const ArchiveLayout layout_;
  const DeviceGroup* const groups_;
  std::byte* const head_;
  const int64_t index_;
};

}  // namespace fmaserver::kernels::cuda
