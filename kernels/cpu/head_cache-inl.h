// One KV head's part of a slot: writing tokens, growing the running sums, closing groups. Groups of
// selected tokens have no sums and are not closed: selected_tokens-inl.h.

#if defined(FMA_KERNELS_CPU_HEAD_CACHE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_HEAD_CACHE_INL_H_
#undef FMA_KERNELS_CPU_HEAD_CACHE_INL_H_
#else
#define FMA_KERNELS_CPU_HEAD_CACHE_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/cache_vectors-inl.h"
#include "kernels/cpu/downsample-inl.h"
#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// T: the slot's element type.
template <typename T>
class HeadCache {
 public:
  HeadCache(const PackedAttention& weights, const AttentionStep& step, std::byte* head,
            AttentionScratch& scratch)
      : weights_(weights),
        spec_(weights.spec),
        layout_(step.layout),
        rotary_(weights.rotary.get()),
        scratch_(scratch),
        keys_(KeysOf<T>(layout_, head)),
        values_(ValuesOf<T>(layout_, head)),
        key_sums_(reinterpret_cast<float*>(head + layout_.sums_offset)),
        value_sums_(key_sums_ + layout_.SumsPerKind()) {}

  const KeyColumns<T>& keys() const { return keys_; }
  const ValueRows<T>& values() const { return values_; }

  /// Writes the token at `position`: its key and value, [d] each. `rotation` is the key's, for this
  /// position.
  void Append(int64_t position, const float* key, const float* value, Rotation rotation) {
    float* padded_key = Pad(key, scratch_.key.get());
    float* padded_value = Pad(value, scratch_.value.get());
    const float* near_key = padded_key;
    if (rotary_ != nullptr) {
      rotary_->Apply(rotation, padded_key, scratch_.rotated_key.get());
      near_key = scratch_.rotated_key.get();
    }
    Store(layout_.NearColumn(position), near_key, padded_value);
    if (position < layout_.hierarchy.sink_tokens) {
      Store(position, spec_.FarIsRotated() ? near_key : padded_key, padded_value);
    }
    if (spec_.Selects()) return;
    const bool hierarchical = spec_.downsampling == Downsampling::kHierarchical;
    const int levels = hierarchical ? 1 : layout_.hierarchy.num_levels;
    for (int level = 1; level <= levels; ++level) {
      AddInput(level, position % layout_.hierarchy.GroupTokens(level), padded_key, padded_value);
    }
  }

  /// Turns the sums of every group that ends just before `position` into summaries, level 1 first.
  void CloseGroups(int64_t position) {
    if (spec_.Selects()) return;
    const Hierarchy& h = layout_.hierarchy;
    for (int level = 1; level <= h.num_levels && h.CompletesGroup(level, position); ++level) {
      CloseGroup(level, position / h.GroupTokens(level) - 1);
    }
  }

 private:
  float* Pad(const float* channels, float* padded) const {
    std::copy_n(channels, spec_.head_dim, padded);
    std::fill(padded + spec_.head_dim, padded + layout_.padded_dim, 0.0F);
    return padded;
  }

  void Store(int64_t column, const float* key, const float* value) {
    keys_.Store(column, key, scratch_.rounded.get());
    values_.Store(column, value);
  }

  void AddInput(int level, int64_t input, const float* key, const float* value) {
    const int64_t sums = layout_.SumIndex(level);
    AddToSummaries(weights_, Downsampled::kKeys, level, input, key, key_sums_ + sums);
    AddToSummaries(weights_, Downsampled::kValues, level, input, value, value_sums_ + sums);
  }

  void CloseGroup(int level, int64_t group) {
    const Hierarchy& h = layout_.hierarchy;
    const int64_t dim = layout_.padded_dim;
    float* keys = key_sums_ + layout_.SumIndex(level);
    float* values = value_sums_ + layout_.SumIndex(level);
    if (spec_.downsampling == Downsampling::kAverage) {
      const float share = 1.0F / static_cast<float>(h.TokensPerSummary(level));
      for (int64_t i = 0; i < h.rank * dim; ++i) keys[i] *= share;
      for (int64_t i = 0; i < h.rank * dim; ++i) values[i] *= share;
    }
    const bool merges = spec_.downsampling == Downsampling::kHierarchical && level < h.num_levels;
    for (int r = 0; r < h.rank; ++r) {
      const float* key = keys + r * dim;
      const float* value = values + r * dim;
      const int64_t column = layout_.FarColumn(level, group) + r;
      Store(column, PlaceSummary(level, key, h.SummaryCentre(level, group, r)), value);
      if (merges) AddInput(level + 1, (group & 1) * h.rank + r, key, value);
    }
  }

  /// The key of a summary as queries meet it: rotated by its centre where the model says so.
  const float* PlaceSummary(int level, const float* key, double centre) {
    if (!spec_.FarIsRotated(level)) return key;
    rotary_->Fill(centre, scratch_.rotation.get());
    rotary_->Apply(scratch_.rotation.get(), key, scratch_.rotated_key.get());
    return scratch_.rotated_key.get();
  }

  const PackedAttention& weights_;
  const AttentionSpec& spec_;
  const SlotLayout& layout_;
  const Rotary* const rotary_;  // null: nothing is rotated
  AttentionScratch& scratch_;
  const KeyColumns<T> keys_;
  const ValueRows<T> values_;
  float* key_sums_;    // [L, p, D]
  float* value_sums_;  // [L, p, D]
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
