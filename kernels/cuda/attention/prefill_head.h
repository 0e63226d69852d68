// One KV head of one slice of a prompt, as the prefill kernels see it: the slot as it was before
// the slice, and the scratch with what the slice adds.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/head_cache.h"
#include "kernels/cuda/attention/prefill_scratch.h"
#include "kernels/cuda/attention/visible_columns.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// The parameters of every prefill kernel.
struct PrefillParameters {
  DeviceAttention attention;
  SlotLayout layout;
  DevicePlan plan;
  int32_t layer = 0;
  const float* qkv = nullptr;  ///< [., QkvColumns()]
  float* out = nullptr;        ///< [., H*d]
};

/// Where a key [d] and a value [D] of T lie, and their scales.
template <typename T>
struct KeySource {
  const T* key;
  const T* value;

  FMA_DEVICE float KeyScale() const { return 1.0F; }
  FMA_DEVICE float ValueScale() const { return 1.0F; }
};
template <>
struct KeySource<int8_t> {
  const int8_t* key;
  const int8_t* value;
  float key_scale;
  float value_scale;

  FMA_DEVICE float KeyScale() const { return key_scale; }
  FMA_DEVICE float ValueScale() const { return value_scale; }
};

template <typename T>
class PrefillHead {
  FMA_DEVICE static PrefillSegment LoadSegment(const PrefillSegment* from) {
    return {Load(&from->slot), Load(&from->position), Load(&from->first_row), Load(&from->rows),
            Load(&from->scratch)};
  }

  // Declared first, because the public members are initialised from it.
  const PrefillParameters& parameters_;
  const int kv_head_;
  const PrefillSegment segment_;

 public:
  const PrefillScratch scratch;
  const HeadCache<T> cache;  ///< the slot, as it was before the slice
  std::byte* const base;     ///< of this head's scratch

  FMA_DEVICE PrefillHead(const PrefillParameters& parameters, int64_t segment, int kv_head)
      : parameters_(parameters),
        kv_head_(kv_head),
        segment_(LoadSegment(parameters.plan.segments + segment)),
        scratch(parameters.layout, segment_.position, segment_.rows),
        cache(parameters.attention, parameters.layout,
              segment_.slot + parameters.layout.HeadOffset(parameters.layer, kv_head)),
        base(parameters.plan.scratch + segment_.scratch + kv_head * scratch.head_bytes()) {}

  FMA_DEVICE int64_t position() const { return segment_.position; }
  FMA_DEVICE int64_t rows() const { return segment_.rows; }
  FMA_DEVICE int64_t end() const { return segment_.position + segment_.rows; }
  FMA_DEVICE int kv_head() const { return kv_head_; }

  /// The row of the step's matrices that is row `row` of the slice.
  FMA_DEVICE int64_t MatrixRow(int64_t row) const { return segment_.first_row + row; }
  FMA_DEVICE const float* Query(int64_t row, int head) const {
    return parameters_.qkv + MatrixRow(row) * parameters_.attention.spec.QkvColumns() +
           int64_t{head} * parameters_.layout.head_dim;
  }
  FMA_DEVICE const float* Token(bool of_keys, int64_t row) const {
    const AttentionSpec& spec = parameters_.attention.spec;
    return Query(row, spec.num_heads + (of_keys ? 0 : spec.num_kv_heads) + kv_head_);
  }

  /// The key or the value [D] of an entry, and its scale.
  FMA_DEVICE T* Placed(bool is_key, int64_t entry) const {
    return reinterpret_cast<T*>(base + (is_key ? 0 : scratch.values_offset())) +
           entry * parameters_.layout.padded_dim;
  }
  FMA_DEVICE BFloat16* PlacedScale(bool is_key, int64_t entry) const {
    return reinterpret_cast<BFloat16*>(base + scratch.scales_offset()) +
           (is_key ? entry : scratch.entries() + entry);
  }
  /// A warp writes channel(0) .. channel(D - 1) as the key or the value of an entry.
  template <typename Channel>
  FMA_DEVICE void Place(bool is_key, int64_t entry, const Channel& channel) const {
    StoreVector<T>(channel, static_cast<int>(parameters_.layout.padded_dim), Placed(is_key, entry),
                   PlacedScale(is_key, entry));
  }
  /// The unrotated summary of a group that the slice completed, [D].
  FMA_DEVICE float* Raw(bool of_keys, int level, int64_t group, int r) const {
    return reinterpret_cast<float*>(base + scratch.raw_offset()) + scratch.RawIndex(of_keys) +
           scratch.SummaryIndex(level, group, r) * parameters_.layout.padded_dim;
  }
  /// The running sum of the group of `level` that the slice leaves open, [D].
  FMA_DEVICE float* Open(bool of_keys, int level, int r) const {
    return reinterpret_cast<float*>(base + scratch.open_offset()) +
           (of_keys ? 0 : parameters_.layout.SumsPerKind()) + parameters_.layout.SumIndex(level) +
           r * parameters_.layout.padded_dim;
  }
  /// Where the sum of `group` goes, depending on whether the group is complete or stays open.
  FMA_DEVICE float* Target(bool of_keys, int level, int64_t group, int r) const {
    return scratch.Completed(level, group) ? Raw(of_keys, level, group, r)
                                           : Open(of_keys, level, r);
  }

  /// Finds a key in the slot if it is older than the slice, else in the scratch.
  FMA_DEVICE KeySource<T> Find(const VisibleKey& key) const {
    int64_t entry = -1;
    if (key.level > 0) {
      if (scratch.Completed(key.level, key.group)) {
        entry = scratch.SummaryEntry(key.level, key.group, key.r);
      }
    } else if (key.position >= position()) {
      entry = key.level == VisibleKey::kSink ? scratch.SinkEntry(key.position)
                                             : key.position - position();
    }
    const int64_t column = entry >= 0 ? 0 : ColumnOf(parameters_.layout, key);
    const T* const own[] = {entry >= 0 ? Placed(true, entry) : cache.KeyAt(column, 0),
                            entry >= 0 ? Placed(false, entry) : cache.ValueAt(column, 0)};
    if constexpr (kHasScales<T>) {
      return {own[0], own[1],
              LoadScale<T>(entry >= 0 ? PlacedScale(true, entry) : cache.ScaleAt(true, column)),
              LoadScale<T>(entry >= 0 ? PlacedScale(false, entry) : cache.ScaleAt(false, column))};
    } else {
      return {own[0], own[1]};
    }
  }
};

/// Blocks of a grid are (item of a list, KV head), heads fastest.
struct ItemOfHead {
  int64_t item;
  int kv_head;
};
FMA_DEVICE ItemOfHead ThisBlock(const AttentionSpec& spec) {
  return {BlockIndex() / spec.num_kv_heads, static_cast<int>(BlockIndex() % spec.num_kv_heads)};
}

FMA_DEVICE QueryBlock LoadBlock(const QueryBlock* from) {
  return {Load(&from->first), Load(&from->rows), Load(&from->segment)};
}

}  // namespace fmaserver::kernels::cuda
