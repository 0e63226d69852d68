// One KV head's groups of selected tokens, as a block of threads chooses them. The counterpart of
// kernels/cpu/selected_tokens-inl.h.
//
// All threads of a block call every function, and each ends with a barrier. A token is among the
// best when fewer than so many are better, which every thread counts for its own tokens.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/head_cache.h"
#include "kernels/cuda/attention/novelty.h"
#include "kernels/cuda/attention/rotation.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// T: the slot's element type.
template <typename T>
class GroupChoice {
 public:
  static constexpr int64_t SharedMemory(const SlotLayout& layout) {
    return NoveltyOfGroup<T>::SharedMemory(layout) + 2 * SharedBytes<int>(MostCandidates(layout)) +
           SharedBytes<int>(layout.hierarchy.rank);
  }

  /// `matrix` and `novelty` as NoveltyOfGroup needs them, where tokens are chosen by novelty.
  FMA_DEVICE GroupChoice(const DeviceAttention& attention, const SlotLayout& layout,
                         const HeadCache<T>& cache, SharedArena arena, double* matrix,
                         float* novelty)
      : attention_(attention),
        layout_(layout),
        cache_(cache),
        novelty_(novelty),
        find_novelty_(attention, layout, cache, arena, matrix, novelty),
        asked_for_(arena.Take<int>(MostCandidates(layout))),
        chosen_(arena.Take<int>(MostCandidates(layout))),
        place_(arena.Take<int>(layout.hierarchy.rank)) {}

  /// Chooses the groups that come into view with the token at `position`, the first of a fine
  /// group, which has yet to be appended. The coarsest goes first: it is made of what the next
  /// finer level has in view till now.
  FMA_DEVICE void ChooseGroups(int64_t position) const {
    const Hierarchy& h = layout_.hierarchy;
    for (int level = h.num_levels; level >= 1; --level) {
      const int64_t group = position / h.GroupTokens(level) - 2;
      if (group >= 0 && h.CompletesGroup(level, position)) ChooseGroup(level, group);
    }
  }

 private:
  static constexpr int MostCandidates(const SlotLayout& layout) {
    const int tokens = layout.hierarchy.group_size;
    const int children = 2 * layout.hierarchy.rank;
    return tokens > children ? tokens : children;
  }

  /// Columns one behind the other, in order of position.
  struct Candidates {
    int64_t column;
    int count;
    bool rotated;            // their keys
    int64_t first_position;  // of tokens of the ring; -1: positions and novelty are in the slot
    int skipped;             // sinks, which precede them
  };

  FMA_DEVICE void ChooseGroup(int level, int64_t group) const {
    const Candidates from = level == 1 ? TokensOf(group) : Children(level, group);
    const int novel = attention_.spec.select_novel;
    const int asked_for = layout_.hierarchy.rank - novel;
    const auto received = [&](int i) { return AtLeast(Load(cache_.Received(from.column + i))); };
    for (int i = ThreadIndex(); i < from.count; i += ThreadCount()) {
      const auto all = [](int) { return true; };
      asked_for_.Set(i, Better(from.count, i, received, all) < asked_for ? 1 : 0);
    }
    SyncThreads();
    const auto rest = [&](int i) { return asked_for_.Get(i) == 0; };
    const auto unlike = [&](int i) { return AtLeast(NoveltyOf(from, i)); };
    for (int i = ThreadIndex(); i < from.count; i += ThreadCount()) {
      chosen_.Set(i, !rest(i) || Better(from.count, i, unlike, rest) < novel ? 1 : 0);
    }
    SyncThreads();
    for (int i = ThreadIndex(); i < from.count; i += ThreadCount()) {
      if (chosen_.Get(i) == 0) continue;
      int before = 0;
      for (int j = 0; j < i; ++j) before += chosen_.Get(j);
      place_.Set(before, i);
    }
    SyncThreads();
    Move(from, attention_.spec.FarIsRotated(level), layout_.FarColumn(level, group));
  }

  /// NaN, which a state that was saved and changed may hold, counts as the least.
  template <typename Number>
  FMA_DEVICE static Number AtLeast(Number worth) {
    return worth == worth ? worth : static_cast<Number>(-INFINITY);
  }

  /// How many of those of `count` candidates that `counts` go before candidate `i`; of equals the
  /// earlier.
  template <typename Worth, typename Counts>
  FMA_DEVICE static int Better(int count, int i, const Worth& worth, const Counts& counts) {
    const auto own = worth(i);
    int better = 0;
    for (int j = 0; j < count; ++j) {
      if (!counts(j)) continue;
      const auto other = worth(j);
      better += other > own || (other == own && j < i) ? 1 : 0;
    }
    return better;
  }

  /// The representatives of the two groups of the level below.
  FMA_DEVICE Candidates Children(int level, int64_t group) const {
    static_assert(kSelectedGroupsKept == 2, "children lie one behind the other");
    return {layout_.FarColumn(level - 1, 2 * group), 2 * layout_.hierarchy.rank,
            attention_.spec.FarIsRotated(level - 1), -1, 0};
  }

  /// The tokens of fine group `group`, which are still in the ring, except the sinks.
  FMA_DEVICE Candidates TokensOf(int64_t group) const {
    const int tokens = layout_.hierarchy.group_size;
    const int64_t first = group * tokens;
    const int64_t column = layout_.NearColumn(first);
    if (attention_.spec.select_novel > 0) find_novelty_.Find(column);
    const int sinks = group == 0 ? layout_.hierarchy.sink_tokens : 0;
    return {column + sinks, tokens - sinks, attention_.spec.positions == PositionEmbedding::kRope,
            first + sinks, sinks};
  }

  FMA_DEVICE int64_t PositionOf(const Candidates& from, int i) const {
    return from.first_position < 0 ? Load(cache_.Position(from.column + i))
                                   : from.first_position + i;
  }
  FMA_DEVICE float NoveltyOf(const Candidates& from, int i) const {
    if (from.first_position < 0) return Load(cache_.Novelty(from.column + i));
    return attention_.spec.select_novel > 0 ? Load(novelty_ + from.skipped + i) : 0.0F;
  }

  /// The chosen of `from` to the columns from `to` on. A warp takes a token.
  FMA_DEVICE void Move(const Candidates& from, bool rotated, int64_t to) const {
    for (int i = WarpIndex(); i < layout_.hierarchy.rank; i += ThreadCount() / kWarpSize) {
      const int place = place_.Get(i);
      const int64_t source = from.column + place;
      const int64_t target = to + i;
      Copy(false, source, target);
      if (from.rotated && !rotated) {
        TurnBack(source, target, PositionOf(from, place));
      } else {
        Copy(true, source, target);
      }
      if (LaneIndex() != 0) continue;
      Store(cache_.Received(target), Load(cache_.Received(source)));
      Store(cache_.Position(target), PositionOf(from, place));
      Store(cache_.Novelty(target), NoveltyOf(from, place));
    }
    SyncThreads();
  }

  FMA_DEVICE void Copy(bool is_key, int64_t source, int64_t target) const {
    cache_.CopyVectorTo(is_key, target, cache_.VectorAt(is_key, source),
                        cache_.ScaleAt(is_key, source));
  }

  /// Undoes the rotation of a key by `position`. Positions come from the slot, so they may be
  /// anything where somebody has changed its bytes.
  FMA_DEVICE void TurnBack(int64_t source, int64_t target, int64_t position) const {
    const int half = layout_.head_dim / 2;
    const float scale = cache_.KeyScale(source);
    const auto channel = [&](int c) {
      const int low = c < half ? c : c - half;
      const Rotation back =
          RotationAt(-static_cast<double>(position), LoadConstant(attention_.frequencies + low));
      const ChannelPair key =
          Rotate(back, {ToFloat(Load(cache_.KeyAt(source, low))) * scale,
                        ToFloat(Load(cache_.KeyAt(source, low + half))) * scale});
      return c < half ? key.low : key.high;
    };
    cache_.StoreVectorAt(true, target, channel);
  }

  const DeviceAttention& attention_;
  const SlotLayout& layout_;
  const HeadCache<T>& cache_;
  const float* const novelty_;
  const NoveltyOfGroup<T> find_novelty_;
  const Shared<int> asked_for_;  // [candidates]: 1 for those chosen by what they received
  const Shared<int> chosen_;     // [candidates]: 1 for all that are
  const Shared<int> place_;      // [p]
};

}  // namespace fmaserver::kernels::cuda
