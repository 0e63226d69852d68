// One KV head's part of an archive: writing the groups that leave the near field, and reading
// units. docs/model.md, "Opened units".

#if defined(FMA_KERNELS_CPU_ARCHIVE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_ARCHIVE_INL_H_
#undef FMA_KERNELS_CPU_ARCHIVE_INL_H_
#else
#define FMA_KERNELS_CPU_ARCHIVE_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "hwy/highway.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/cache_vectors-inl.h"
#include "kernels/cpu/prefetch.h"
#include "kernels/cpu/sketch-inl.h"
#include "kernels/cpu/sketch_pool.h"
#include "kernels/cpu/unit_tokens-inl.h"
#include "kernels/fma/element.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// The forms in which queries and keys of units meet; the first is not rotated where nothing far
/// is.
enum class UnitForm : int { kPlaced, kDistant };

/// A block's queries in one form.
inline const float* QueriesIn(UnitForm form, const AttentionSpec& spec,
                              const AttentionScratch& scratch) {
  if (form == UnitForm::kDistant) return scratch.distant_queries.get();
  return spec.FarIsRotated() ? scratch.near_queries.get() : scratch.far_queries.get();
}

/// T: the slot's element type.
template <typename T>
class ArchiveHead {
 public:
  ArchiveHead(const PackedAttention& weights, const AttentionStep& step, const SlotSegment& segment,
              int32_t layer, int32_t kv_head, std::byte* head, AttentionScratch& scratch)
      : spec_(weights.spec),
        slot_(step.layout),
        layout_(step.archive),
        rotary_(weights.rotary.get()),
        sketches_(step.SketchesOf(segment)),
        index_(layout_.HeadIndex(layer, kv_head)),
        head_(head),
        scratch_(scratch),
        tokens_(layout_, segment.archive, index_),
        sketcher_(layout_, scratch.open) {}

  /// How queries of `fine_group` meet all of `group`: in its place, or as if it were max_distance
  /// away.
  UnitForm FormOf(int64_t group, int64_t fine_group) const {
    const bool distant =
        spec_.max_distance > 0 &&
        (fine_group - group + 1) * layout_.hierarchy.group_size > spec_.max_distance;
    return distant ? UnitForm::kDistant : UnitForm::kPlaced;
  }

  /// How many of a unit's first tokens are sinks.
  int64_t SinksOf(int64_t unit) const {
    return std::clamp<int64_t>(layout_.hierarchy.sink_tokens - unit * layout_.unit_tokens, 0,
                               layout_.unit_tokens);
  }

  /// The sketches of a group's units as queries of `fine_group` meet them, one behind the other.
  const std::byte* Sketches(int64_t group, int64_t fine_group) const {
    if (spec_.max_distance > 0 && FormOf(group, fine_group) == UnitForm::kPlaced) {
      return PlacedSketches(group);
    }
    return ArchivedSketches(group);
  }

  /// All that is kept of a unit's tokens.
  std::span<const std::byte> Tokens(int64_t unit) const {
    return {tokens_.At(unit), static_cast<size_t>(layout_.UnitTokenBytes())};
  }
  HWY_INLINE void PrefetchTokens(int64_t unit) const {
    Prefetch(tokens_.At(unit), layout_.UnitTokenBytes());
  }

  /// Whether units can be read where they are: numbers of the slot's type without scales, in whole
  /// vectors.
  bool IsWhole() const {
    return layout_.type == slot_.type && !kHasScales<T> &&
           layout_.unit_tokens % SlotLayout::kLane == 0 && spec_.head_dim == slot_.padded_dim;
  }
  /// Then a unit's keys [d, u], which are not rotated.
  const T* Keys(int64_t unit) const { return tokens_.Keys<T>(unit).Channel(0); }
  /// Then its values [u, d].
  const T* Values(int64_t unit) const { return tokens_.Values<T>(unit).data(); }

  /// Sets `keys`, columns [0, u), to the keys of a unit; `turned`: by their places in their group.
  void ReadKeys(int64_t unit, bool turned, UnitKeys keys) const {
    tokens_.ReadKeys(unit, turned ? rotary_ : nullptr, keys);
  }

  /// Sets `values` [u, D] to those of a unit.
  void ReadValues(int64_t unit, float* values) const {
    tokens_.ReadValues(unit, slot_.padded_dim, values);
  }

  /// Writes `group`, whose tokens are in the slot's ring still.
  void WriteGroup(int64_t group) {
    for (int64_t i = 0; i < layout_.UnitsPerGroup(); ++i) WriteUnit(group, i);
  }

 private:
  std::byte* ArchivedSketches(int64_t group) const {
    return sketches_[group] + index_ * SketchPool::StrideOf(layout_.HeadSketchBytes());
  }

  std::byte* PlacedSketches(int64_t group) const {
    return head_ + slot_.sketches_offset +
           group % spec_.GroupsInPlace() * layout_.HeadSketchBytes();
  }

  void WriteUnit(int64_t group, int64_t i) {
    const int64_t u = layout_.unit_tokens;
    const int64_t column = slot_.NearColumn(group * layout_.hierarchy.group_size + i * u);
    const int64_t sketch_at = i * layout_.Sketch().bytes;
    std::byte* sketch = ArchivedSketches(group) + sketch_at;
    const int64_t unit = group * layout_.UnitsPerGroup() + i;
    const UnitKeys keys = {scratch_.open.keys.get(), scratch_.open.unit_stride};
    CopyFromRing(column, keys);
    const bool placed = spec_.FarIsRotated();
    if (spec_.GroupsInPlace() > 0) {
      sketcher_.Make(keys, PlacedSketches(group) + sketch_at);
    } else if (placed) {
      sketcher_.Make(keys, sketch);
    }
    if (placed) CopyFromRing(column, keys);  // sketching has used them up
    TurnBack(group, i * u, keys);
    StoreKeys(unit, keys);
    if (!placed || spec_.max_distance > 0) sketcher_.Make(keys, sketch);
    StoreValues(unit, column);
  }

  /// Stores the keys of a unit, and makes `keys` what a slot would keep of them, which is rounded:
  /// what sketches are made of, whatever the archive's type.
  void StoreKeys(int64_t unit, UnitKeys keys) const {
    if constexpr (!kHasScales<T>) {
      for (int64_t c = 0; c < spec_.head_dim; ++c) {
        float* HWY_RESTRICT channel = keys.Channel(c);
        for (int64_t i = 0; i < layout_.unit_tokens; ++i) {
          channel[i] = ToFloat(FromFloat<T>(channel[i]));
        }
      }
    }
    tokens_.StoreKeys(unit, keys, scratch_.key.get(), scratch_.rounded.get());
    if constexpr (kHasScales<T>) tokens_.ReadKeys(unit, nullptr, keys);
  }

  /// Of tokens that are in the ring from `column` on.
  void StoreValues(int64_t unit, int64_t column) const {
    const ValueRows<T> values = ValuesOf<T>(slot_, head_);
    for (int64_t token = 0; token < layout_.unit_tokens; ++token) {
      if (layout_.type == slot_.type) {
        tokens_.Values<T>(unit).CopyFrom(values, column + token, token);
        continue;
      }
      const T* from = values.Row(column + token);
      float* value = scratch_.value.get();
      for (int64_t c = 0; c < spec_.head_dim; ++c) value[c] = ToFloat(from[c]);
      tokens_.StoreValue(unit, token, value, scratch_.rounded.get());
    }
  }

  void CopyFromRing(int64_t column, UnitKeys keys) const {
    const KeyColumns<T> ring = KeysOf<T>(slot_, head_);
    for (int64_t c = 0; c < spec_.head_dim; ++c) {
      ring.ReadChannel(c, column, layout_.unit_tokens, keys.Channel(c));
    }
  }

  /// Undoes the rotation by their positions of the keys of a unit, the first of which is at `place`
  /// of its group.
  void TurnBack(int64_t group, int64_t place, UnitKeys keys) const {
    if (rotary_ == nullptr) return;
    const int64_t half = rotary_->half();
    const Rotation start = rotary_->GroupStart(group);
    for (int64_t pair = 0; pair < half; ++pair) {
      float* HWY_RESTRICT low = keys.Channel(pair);
      float* HWY_RESTRICT high = keys.Channel(half + pair);
      const float* HWY_RESTRICT cosines = rotary_->Offsets(pair) + place;
      const float* HWY_RESTRICT sines = rotary_->Offsets(half + pair) + place;
      const float start_cosine = start[pair];
      const float start_sine = start[half + pair];
      for (int64_t i = 0; i < layout_.unit_tokens; ++i) {
        const float half_low = low[i] * start_cosine + high[i] * start_sine;
        const float half_high = high[i] * start_cosine - low[i] * start_sine;
        low[i] = half_low * cosines[i] + half_high * sines[i];
        high[i] = half_high * cosines[i] - half_low * sines[i];
      }
    }
  }

  const AttentionSpec& spec_;
  const SlotLayout& slot_;
  const ArchiveLayout& layout_;
  const Rotary* const rotary_;                  // null: nothing is rotated
  const std::span<std::byte* const> sketches_;  // of the groups
  const int64_t index_;
  std::byte* const head_;
  AttentionScratch& scratch_;
  const UnitTokens tokens_;
  const Sketcher<SketchNumber<T>> sketcher_;
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
