// Where everything lies in a cache slot: all that one sequence needs, in one block of bytes whose
// size and layout are a pure function of (AttentionSpec, layers, element type).
//
// A slot is [num_layers][num_kv_heads] head blocks. A head block holds one key matrix and one value
// matrix whose columns are everything a query can look at, then the running sums of open groups:
//
//   keys    [C/kLane, d, kLane] elements; strips of columns, transposed, so that the lanes of a
//   score
//                        are columns and the keys of a group lie together
//   values  [C, D]       elements; D = d rounded up to kLane
//   scales  [2, C]       bfloat16; of keys, then of values; only where elements are integers
//   sums    [2, L, p, D] float32; of keys, then of values
//
//   columns: [0, s)                  sink tokens
//            FarColumn(l, g) + r     summary r of group g of level l; kGroupsKept groups per level
//            near_begin + t % 2m     token t: a ring of the last two fine groups
//
// The far part and the near part are each padded to kLane columns. With a max_distance, so are the
// sinks and the levels that do not seem distant: each is met with a query of another form.
//
// Selected tokens have no running sums. kSelectedGroupsKept groups a level are kept, and beside the
// matrices what decides which tokens go on:
//
//   received   [C]           float64; attention received (A) by ring and far field
//   positions  [near_begin]  int64; of the far field's tokens, as is
//   novelty    [near_begin]  float32 (N)
//   sketches   [GroupsInPlace(), m / u] sketches (archive_layout.h) of the keys rotated by their
//              positions, of the newest archived groups: a ring by group; only with opened units
//              and a max_distance
//
// What a slot holds is told by its token count alone: bytes that no visible column or open group
// uses may be anything.
// Source: docs/model.md, "Incremental cache".
#pragma once

#include <cstdint>

#include "kernels/fma/archive_layout.h"
#include "kernels/fma/cache_type.h"
#include "kernels/fma/spec.h"

namespace fmaserver::kernels {

/// Changes whenever the bytes of a slot get another meaning for the same SlotLayout; slots that
/// were saved before are then refused.
inline constexpr int32_t kSlotLayoutVersion = 2;

struct SlotLayout {
  static constexpr int64_t kLane = 16;       ///< columns and channels are padded to this
  static constexpr int64_t kAlignment = 64;  ///< of head blocks and slots, in bytes

  Hierarchy hierarchy;
  int32_t num_layers = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  CacheType type = CacheType::kF32;
  CacheType archive_type = CacheType::kF32;  ///< of tokens that leave it (ArchiveLayout::type)
  bool selects = false;                      ///< groups are represented by tokens of their own
  int32_t first_distant_level = 0;           ///< AttentionSpec::FirstDistantLevel()

  int64_t far_begin = 0;      ///< first column of level 1
  int64_t distant_gap = 0;    ///< padding before the first distant level
  int64_t far_columns = 0;    ///< sinks and all levels, before padding
  int64_t near_begin = 0;     ///< first column of the near-field ring
  int64_t columns = 0;        ///< C
  int64_t padded_dim = 0;     ///< D
  int64_t values_offset = 0;  ///< in bytes from the head block, as are the next
  int64_t scales_offset = 0;
  int64_t sums_offset = 0;
  int64_t received_offset = 0;
  int64_t positions_offset = 0;
  int64_t novelty_offset = 0;
  int64_t sketches_offset = 0;
  int64_t head_bytes = 0;
  int64_t slot_bytes = 0;

  constexpr SlotLayout() = default;
  constexpr SlotLayout(const AttentionSpec& spec, int32_t layers, CacheType element)
      : SlotLayout(spec, layers, element, element) {}
  constexpr SlotLayout(const AttentionSpec& spec, int32_t layers, CacheType element,
                       CacheType archived)
      : hierarchy(spec.hierarchy),
        num_layers(layers),
        num_kv_heads(spec.num_kv_heads),
        head_dim(spec.head_dim),
        type(element),
        archive_type(archived),
        selects(spec.Selects()),
        first_distant_level(spec.FirstDistantLevel()) {
    PlaceColumns(spec.max_distance > 0);
    PlaceArrays(spec.GroupsInPlace() * Archive(spec).HeadSketchBytes());
  }

  static constexpr int64_t RoundUp(int64_t value, int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
  }

  /// Of sequences whose slots are laid out like this, for the same `spec`.
  constexpr ArchiveLayout Archive(const AttentionSpec& spec) const {
    return {spec, num_layers, type, archive_type};
  }

  /// Groups of each level.
  constexpr int64_t GroupsKept() const { return selects ? kSelectedGroupsKept : kGroupsKept; }

  /// First of the p columns of group `group` of `level` (1..L).
  constexpr int64_t FarColumn(int level, int64_t group) const {
    // By constants, because device code divides slowly by anything else.
    const int64_t place = selects ? group % kSelectedGroupsKept : group % kGroupsKept;
    const int64_t block = int64_t{level - 1} * GroupsKept() + place;
    const int64_t gap = level < first_distant_level ? 0 : distant_gap;
    return far_begin + block * hierarchy.rank + gap;
  }

  /// First column of the levels that seem distant; near_begin when there is none.
  constexpr int64_t DistantBegin() const {
    return first_distant_level > hierarchy.num_levels ? near_begin
                                                      : FarColumn(first_distant_level, 0);
  }

  constexpr int64_t NearColumn(int64_t position) const {
    return near_begin + position % (2 * int64_t{hierarchy.group_size});
  }

  /// Where channel `channel` of the key of `column` is, in elements from the head block.
  constexpr int64_t KeyIndex(int64_t column, int64_t channel) const {
    return (column / kLane * head_dim + channel) * kLane + column % kLane;
  }

  constexpr int64_t HeadOffset(int32_t layer, int32_t kv_head) const {
    return (int64_t{layer} * num_kv_heads + kv_head) * head_bytes;
  }

  /// Floats of the running sums of keys (as many again for values).
  constexpr int64_t SumsPerKind() const {
    return selects ? 0 : int64_t{hierarchy.num_levels} * hierarchy.rank * padded_dim;
  }

  /// Index of the first running sum of `level` among those of its kind; [p, D] follow.
  constexpr int64_t SumIndex(int level) const {
    return int64_t{level - 1} * hierarchy.rank * padded_dim;
  }

  constexpr bool operator==(const SlotLayout&) const = default;

 private:
  constexpr void PlaceColumns(bool forms_differ) {
    far_begin = forms_differ ? RoundUp(hierarchy.sink_tokens, kLane) : hierarchy.sink_tokens;
    if (first_distant_level <= hierarchy.num_levels) {
      const int64_t distant = FarColumn(first_distant_level, 0);
      distant_gap = RoundUp(distant, kLane) - distant;
    }
    far_columns = FarColumn(hierarchy.num_levels + 1, 0);
    near_begin = RoundUp(far_columns, kLane);
    columns = near_begin + RoundUp(2 * int64_t{hierarchy.group_size}, kLane);
    padded_dim = RoundUp(head_dim, kLane);
  }

  constexpr void PlaceArrays(int64_t sketch_bytes) {
    values_offset = RoundUp(columns * head_dim * SizeOf(type), kAlignment);
    scales_offset = RoundUp(values_offset + columns * padded_dim * SizeOf(type), kAlignment);
    sums_offset = RoundUp(scales_offset + 2 * columns * ScaleSize(type), kAlignment);
    received_offset = sums_offset + 2 * SumsPerKind() * int64_t{sizeof(float)};
    positions_offset = received_offset + (selects ? columns : 0) * int64_t{sizeof(double)};
    const int64_t far = selects ? near_begin : 0;
    novelty_offset = positions_offset + far * int64_t{sizeof(int64_t)};
    sketches_offset = novelty_offset + far * int64_t{sizeof(float)};
    head_bytes = RoundUp(sketches_offset + sketch_bytes, kAlignment);
    slot_bytes = head_bytes * num_kv_heads * num_layers;
  }
};

/// Bytes that each token adds to an ordinary cache of keys and values of the same model.
constexpr int64_t FullCacheBytesPerToken(const SlotLayout& layout) {
  return 2 * int64_t{layout.num_layers} * layout.num_kv_heads *
         VectorBytes(layout.type, layout.head_dim);
}

}  // namespace fmaserver::kernels
