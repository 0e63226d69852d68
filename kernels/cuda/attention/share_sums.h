// How one row divides its attention among the parts of what it sees (AttentionParts), in one KV
// head. The kernels that attend keep no weights, so a block computes the scores of a row again.
//
// A thread takes every kThreads-th entry of a part, for which it has an online softmax of its own;
// then a thread takes a part and joins what all warps have of it.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/cache_vectors.h"
#include "kernels/cuda/attention/decode_inputs.h"
#include "kernels/cuda/attention/softmax.h"
#include "kernels/cuda/attention/visible_columns.h"
#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/attention_parts.h"
#include "kernels/fma/element.h"

namespace fmaserver::kernels::cuda {

/// Where a key [d] lies, and its scale; null for one that is not met.
template <typename T>
struct FoundKey {
  const T* key = nullptr;
  float scale = 1;
};

/// All threads of a block call every function.
class ShareSums {
 public:
  static constexpr int kThreads = 128;
  static constexpr int kWarps = kThreads / kWarpSize;

  static constexpr int64_t SharedMemory(const SlotLayout& layout) {
    return 5 * SharedBytes<float>(layout.padded_dim) +
           2 * SharedBytes<float>(kWarps * AttentionParts(layout.hierarchy).Count());
  }

  /// `input` is the row of the QKV product of the token at `position`.
  FMA_DEVICE ShareSums(const DeviceAttention& attention, const SlotLayout& layout,
                       const float* input, int64_t position, int kv_head)
      : ShareSums(SharedArena(), attention, layout, input, position, kv_head) {}

  /// Adds the shares of all query heads to `to` [AttentionParts::Count()]. `find` returns the
  /// FoundKey of a VisibleKey, and is not asked for the row's own, which counts as it was before it
  /// was rounded to an integer; `opened` is this thread's part of what opened units get from a
  /// query head, counted among those of the KV head.
  template <typename T, typename Find, typename Opened>
  FMA_DEVICE void AddTo(float* to, const Find& find, const Opened& opened) const {
    PlaceToken(attention_, layout_, input_, position_, kv_head_, {key_, placed_key_, value_});
    const int heads = attention_.spec.QueriesPerKvHead();
    float share = 0;
    FMA_NO_UNROLL
    for (int head = 0; head < heads; ++head) {
      PlaceQueries<1>(attention_, layout_, input_, position_, {kv_head_ * heads + head, 1},
                      placed_query_, far_query_);
      SyncThreads();
      FMA_NO_UNROLL
      for (int part = 0; part < parts_.OpenedUnits(); ++part) {
        Keep(part, Attend<T>(kv_head_ * heads + head, part, find));
      }
      Keep(parts_.OpenedUnits(), {0.0F, opened(head)});
      SyncThreads();
      if (ThreadIndex() < parts_.Count()) share += ShareOf(ThreadIndex());
      SyncThreads();
    }
    if (ThreadIndex() < parts_.Count()) Store(to + ThreadIndex(), Load(to + ThreadIndex()) + share);
  }

 private:
  FMA_DEVICE ShareSums(SharedArena arena, const DeviceAttention& attention,
                       const SlotLayout& layout, const float* input, int64_t position, int kv_head)
      : attention_(attention),
        layout_(layout),
        parts_(layout.hierarchy),
        input_(input),
        position_(position),
        kv_head_(kv_head),
        placed_query_(arena.Take<float>(static_cast<int>(layout.padded_dim))),
        far_query_(arena.Take<float>(static_cast<int>(layout.padded_dim))),
        key_(arena.Take<float>(static_cast<int>(layout.padded_dim))),
        placed_key_(arena.Take<float>(static_cast<int>(layout.padded_dim))),
        value_(arena.Take<float>(static_cast<int>(layout.padded_dim))),
        max_(arena.Take<float>(kWarps * parts_.Count())),
        total_(arena.Take<float>(kWarps * parts_.Count())) {}

  FMA_DEVICE int LevelOf(int part) const {
    if (part == AttentionParts::kSinks) return VisibleKey::kSink;
    if (part == AttentionParts::kNearField) return VisibleKey::kNear;
    return part - AttentionParts::kNearField;
  }

  /// This thread's entries of a part.
  template <typename T, typename Find>
  FMA_DEVICE SoftmaxStart Attend(int head, int part, const Find& find) const {
    const int level = LevelOf(part);
    const VisibleColumns visible(attention_.spec, layout_, layout_.hierarchy.FineGroup(position_));
    const VisibleColumns::Entries entries = visible.EntriesOf(level, position_ + 1);
    const int32_t far_first = visible.PartEnd(0, position_, position_ + 1);
    const int32_t far_end = visible.PartEnd(1, position_, position_ + 1);
    SoftmaxStart sums = ThreadIndex() == 0 ? MissingOf(head, level) : SoftmaxStart();
    FMA_NO_UNROLL
    for (int32_t entry = entries.first + ThreadIndex(); entry < entries.end; entry += kThreads) {
      const VisibleKey visible_key = visible.At(entry);
      const bool far = entry >= far_first && entry < far_end;
      const Shared<float>& query = far ? far_query_ : placed_query_;
      const bool own = level == VisibleKey::kNear && visible_key.position == position_;
      const FoundKey<T> found = own ? FoundKey<T>() : find(visible_key);
      if (!own && found.key == nullptr) continue;
      float score = 0;
      FMA_NO_UNROLL
      for (int c = 0; c < layout_.head_dim; ++c) {
        score += query.Get(c) * (own ? Own<T>(c) : ToFloat(Load(found.key + c)));
      }
      sums.Add(score * found.scale + Bias(head, level), 1);
    }
    return sums;
  }

  /// A channel of the row's own key.
  template <typename T>
  FMA_DEVICE float Own(int channel) const {
    if constexpr (kHasScales<T>) {
      return placed_key_.Get(channel);
    } else {
      return ToFloat(FromFloat<T>(placed_key_.Get(channel)));
    }
  }

  FMA_DEVICE float Bias(int head, int level) const {
    if (level <= 0) return 0.0F;
    return LoadConstant(attention_.far_bias + int64_t{head} * parts_.levels + level - 1);
  }

  /// The keys of zeros that stand for missing groups.
  FMA_DEVICE SoftmaxStart MissingOf(int head, int level) const {
    SoftmaxStart start;
    if (attention_.spec.padding != Padding::kZeroKeys || level == VisibleKey::kSink) return start;
    const int64_t fine_group = layout_.hierarchy.FineGroup(position_);
    const int64_t count =
        level == VisibleKey::kNear
            ? (fine_group == 0 ? layout_.hierarchy.group_size : 0)
            : Hierarchy::FarGroups(level, fine_group).Missing() * layout_.hierarchy.rank;
    if (count > 0) start.Add(Bias(head, level), count);
    return start;
  }

  /// Keeps what this warp has of a part.
  FMA_DEVICE void Keep(int part, const SoftmaxStart& own) const {
    const float max = WarpMax(own.max);
    const float total = WarpSum(own.total == 0 ? 0.0F : own.total * FastExp(own.max - max));
    if (LaneIndex() != 0) return;
    max_.Set(WarpIndex() * parts_.Count() + part, max);
    total_.Set(WarpIndex() * parts_.Count() + part, total);
  }

  /// The share of a part, once all are kept.
  FMA_DEVICE float ShareOf(int part) const {
    float opened = 0;
    for (int warp = 0; warp < kWarps; ++warp) {
      opened += total_.Get(warp * parts_.Count() + parts_.OpenedUnits());
    }
    if (part == parts_.OpenedUnits()) return opened;
    float max = -INFINITY;
    for (int i = 0; i < kWarps * parts_.Count(); ++i) {
      const bool counts = i % parts_.Count() != parts_.OpenedUnits() && max_.Get(i) > max;
      if (counts) max = max_.Get(i);
    }
    float all = 0;
    float mine = 0;
    for (int i = 0; i < kWarps * parts_.Count(); ++i) {
      const int of = i % parts_.Count();
      if (of == parts_.OpenedUnits() || total_.Get(i) == 0) continue;
      const float weight = total_.Get(i) * FastExp(max_.Get(i) - max);
      all += weight;
      if (of == part) mine += weight;
    }
    return (1.0F - opened) * mine / all;
  }

  const DeviceAttention& attention_;
  const SlotLayout& layout_;
  const AttentionParts parts_;
  const float* const input_;
  const int64_t position_;
  const int kv_head_;
  const Shared<float> placed_query_;  // [D], scaled, as the next
  const Shared<float> far_query_;     // [D]
  const Shared<float> key_;           // [D]
  const Shared<float> placed_key_;    // [D]
  const Shared<float> value_;         // [D]
  const Shared<float> max_;           // [kWarps, parts]: the largest score
  const Shared<float> total_;         // [kWarps, parts]: weights relative to it; of opened units
                                      // their share
};

}  // namespace fmaserver::kernels::cuda
