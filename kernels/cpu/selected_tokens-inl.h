// One KV head's far field of selected tokens: what tokens receive, and which of them go on when a
// group comes into view. docs/model.md, "Selected tokens".

#if defined(FMA_KERNELS_CPU_SELECTED_TOKENS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_SELECTED_TOKENS_INL_H_
#undef FMA_KERNELS_CPU_SELECTED_TOKENS_INL_H_
#else
#define FMA_KERNELS_CPU_SELECTED_TOKENS_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

#include "hwy/highway.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/cache_vectors-inl.h"
#include "kernels/cpu/load-inl.h"
#include "kernels/cpu/novelty.h"
#include "kernels/cpu/selection.h"
#include "kernels/host/host_element.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// sums[c] = weights[0][c] * scales[0] + weights[1][c] * scales[1] + ..., row by row in order.
/// `count` is a multiple of SlotLayout::kLane.
inline void ScaledRowSum(const float* HWY_RESTRICT weights, int64_t stride,
                         std::span<const float> scales, int64_t count, float* HWY_RESTRICT sums) {
  const FloatTag d;
  for (int64_t c = 0; c < count; c += static_cast<int64_t>(hn::Lanes(d))) {
    FloatVec sum = hn::Zero(d);
    for (size_t row = 0; row < scales.size(); ++row) {
      const FloatVec weight = hn::Load(d, weights + static_cast<int64_t>(row) * stride + c);
      sum = hn::MulAdd(weight, hn::Set(d, scales[row]), sum);
    }
    hn::Store(sum, d, sums + c);
  }
}

/// to += from, `count` numbers, a multiple of SlotLayout::kLane.
inline void AddFloats(const float* HWY_RESTRICT from, int64_t count, double* HWY_RESTRICT to) {
  const hn::CappedTag<double, 8> d;
  const hn::Rebind<float, decltype(d)> floats;
  for (int64_t c = 0; c < count; c += static_cast<int64_t>(hn::Lanes(d))) {
    hn::Store(hn::Add(hn::Load(d, to + c), hn::PromoteTo(d, hn::Load(floats, from + c))), d,
              to + c);
  }
}

/// T: the slot's element type.
template <typename T>
class SelectedTokens {
 public:
  SelectedTokens(const PackedAttention& weights, const AttentionStep& step, std::byte* head,
                 AttentionScratch& scratch)
      : spec_(weights.spec),
        layout_(step.layout),
        rotary_(weights.rotary.get()),
        scratch_(scratch),
        work_(scratch.selection),
        keys_(KeysOf<T>(layout_, head)),
        values_(ValuesOf<T>(layout_, head)),
        received_(reinterpret_cast<double*>(head + layout_.received_offset)),
        positions_(reinterpret_cast<int64_t*>(head + layout_.positions_offset)),
        novelty_(reinterpret_cast<float*>(head + layout_.novelty_offset)) {}

  /// Chooses the groups that come into view with the token at `position`, which has yet to be
  /// appended. The coarsest goes first: it is made of what the next finer level has in view till
  /// now. Only the first token of a fine group may bring one.
  void ChooseGroups(int64_t position) {
    const Hierarchy& h = layout_.hierarchy;
    for (int level = h.num_levels; level >= 1; --level) {
      const int64_t group = position / h.GroupTokens(level) - 2;
      if (group >= 0 && h.CompletesGroup(level, position)) ChooseGroup(level, group);
    }
  }

  /// The token at `position` has been appended.
  void Start(int64_t position) { received_[layout_.NearColumn(position)] = 0; }

  /// Adds what the query at `position` gives: `weights` are its `scales.size()` rows, `stride`
  /// apart, of the far part [0, far_end) and the near part, of which each is to be multiplied by
  /// its scale. What follows them is left alone. Sinks and columns that are not in view get numbers
  /// that nobody reads.
  void Receive(int64_t position, const float* weights, int64_t stride,
               std::span<const float> scales, int64_t far_end) {
    float* sums = work_.row_sum.get();
    const int64_t near = layout_.columns - layout_.near_begin;
    ScaledRowSum(weights, stride, scales, far_end + near, sums);
    const int64_t m = layout_.hierarchy.group_size;
    const int64_t own_group = position - position % m;
    const int64_t too_near = std::max(position - spec_.select_lag + 1, own_group - m);
    ClearNear(std::max(too_near, own_group), position + 1, sums + far_end);
    if (too_near < own_group) ClearNear(std::max<int64_t>(too_near, 0), own_group, sums + far_end);
    AddFloats(sums, far_end, received_);
    AddFloats(sums + far_end, near, received_ + layout_.near_begin);
  }

 private:
  /// Columns one behind the other, in order of position.
  struct Candidates {
    int64_t column;
    int64_t count;
    bool rotated;  // their keys
    const int64_t* positions;
    const float* novelty;
  };

  void ChooseGroup(int level, int64_t group) {
    const Candidates from = level == 1 ? TokensOf(group) : Children(level, group);
    const auto count = static_cast<size_t>(from.count);
    ChooseTokens({received_ + from.column, count}, {from.novelty, count},
                 layout_.hierarchy.rank - spec_.select_novel, spec_.select_novel, work_.chosen);
    const int64_t to = layout_.FarColumn(level, group);
    MoveKeys(from, spec_.FarIsRotated(level), to);
    for (int64_t r = 0; r < layout_.hierarchy.rank; ++r) {
      const int32_t place = work_.chosen[r];
      values_.CopyFrom(values_, from.column + place, to + r);
      received_[to + r] = received_[from.column + place];
      positions_[to + r] = from.positions[place];
      novelty_[to + r] = from.novelty[place];
    }
  }

  /// The representatives of the two groups of the level below.
  Candidates Children(int level, int64_t group) const {
    static_assert(kSelectedGroupsKept == 2, "children lie one behind the other");
    const int64_t column = layout_.FarColumn(level - 1, 2 * group);
    return {column, 2 * int64_t{layout_.hierarchy.rank}, spec_.FarIsRotated(level - 1),
            positions_ + column, novelty_ + column};
  }

  /// The tokens of fine group `group`, which are still in the ring, except the sinks.
  Candidates TokensOf(int64_t group) {
    const int64_t m = layout_.hierarchy.group_size;
    const int64_t first = group * m;
    const int64_t column = layout_.NearColumn(first);
    for (int64_t i = 0; i < m; ++i) work_.positions[i] = first + i;
    if (spec_.select_novel > 0) FindNoveltyOf(column);
    const int64_t sinks = group == 0 ? layout_.hierarchy.sink_tokens : 0;
    return {column + sinks, m - sinks, rotary_ != nullptr, work_.positions.data() + sinks,
            work_.novelty.novelty.data() + sinks};
  }

  /// Of the fine group whose tokens begin at `column`. Their keys are turned back to where the
  /// group begins and no further: one rotation of all changes nothing.
  void FindNoveltyOf(int64_t column) {
    NoveltyScratch& novelty = work_.novelty;
    for (int64_t c = 0; c < novelty.dim; ++c) {
      keys_.ReadChannel(c, column, novelty.tokens, novelty.keys.get() + c * novelty.key_stride);
    }
    const int64_t half = rotary_ == nullptr ? 0 : rotary_->half();
    for (int64_t pair = 0; pair < half; ++pair) {
      double* HWY_RESTRICT low = novelty.keys.get() + pair * novelty.key_stride;
      double* HWY_RESTRICT high = low + half * novelty.key_stride;
      const float* HWY_RESTRICT cosines = rotary_->Offsets(pair);
      const float* HWY_RESTRICT sines = rotary_->Offsets(half + pair);
      for (int64_t i = 0; i < novelty.tokens; ++i) {
        const double own = low[i];
        const double other = high[i];
        low[i] = own * cosines[i] + other * sines[i];
        high[i] = other * cosines[i] - own * sines[i];
      }
    }
    FindNovelty(novelty);
  }

  /// The chosen of `from` to the columns from `to` on.
  void MoveKeys(const Candidates& from, bool rotated, int64_t to) {
    keys_.CopyTo(to, from.column, work_.chosen);
    if (rotated == from.rotated) return;
    for (const int32_t place : work_.chosen) TurnBack(to++, from.positions[place]);
  }

  /// Undoes the rotation by `position` of a key.
  void TurnBack(int64_t column, int64_t position) {
    float* key = scratch_.key.get();
    keys_.Load(column, key);
    // Positions come from the slot, so they may be anything where somebody has changed its bytes.
    const auto m = static_cast<uint64_t>(layout_.hierarchy.group_size);
    const uint64_t group_start = static_cast<uint64_t>(position) / m * m;
    if (group_start != turned_to_) {
      rotary_->Fill(static_cast<double>(group_start), scratch_.rotation.get());
      turned_to_ = group_start;
    }
    const auto offset = static_cast<int64_t>(static_cast<uint64_t>(position) - group_start);
    rotary_->Undo(scratch_.rotation.get(), key, key);
    rotary_->Undo(rotary_->Offset(offset), key, key);
    keys_.Store(column, key, scratch_.rounded.get());
  }

  /// Tokens [first, end), which lie in one half of the ring; `sums` are of its columns.
  void ClearNear(int64_t first, int64_t end, float* sums) const {
    if (first >= end) return;
    std::fill_n(sums + layout_.NearColumn(first) - layout_.near_begin, end - first, 0.0F);
  }

  const AttentionSpec& spec_;
  const SlotLayout& layout_;
  const Rotary* const rotary_;  // null: nothing is rotated
  AttentionScratch& scratch_;
  SelectionScratch& work_;
  const KeyColumns<T> keys_;
  const ValueRows<T> values_;
  double* received_;                                           // [C]
  int64_t* positions_;                                         // [near_begin]
  float* novelty_;                                             // [near_begin]
  uint64_t turned_to_ = std::numeric_limits<uint64_t>::max();  // what scratch_.rotation turns by
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
