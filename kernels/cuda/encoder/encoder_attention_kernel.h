// The attention of encoders: shares of a level that ask in place of their tokens, and tokens of
// fine groups. A block takes kQueries queries of a group and one KV head.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/query.h"
#include "kernels/cuda/encoder/encoder_kernel.h"
#include "kernels/cuda/encoder/encoder_list.h"
#include "kernels/cuda/encoder/encoder_runs.h"

namespace fmaserver::kernels::cuda {

/// What the blocks of both kernels have in common.
struct EncoderAttention : EncoderKernel {
  int32_t at_once = 0;  ///< queries of a block

 protected:
  FMA_DEVICE int KvHead() const {
    return static_cast<int>(BlockIndex() % attention.spec.num_kv_heads);
  }
  FMA_DEVICE EncoderGroup Group() const {
    return GroupAt(level, first + BlockIndex() / attention.spec.num_kv_heads);
  }
  FMA_DEVICE int FirstQuery() const { return static_cast<int>(BlockIndexY()) * at_once; }
  /// The query heads of the KV head take turns: this is that of one of the block's queries.
  FMA_DEVICE int Head(int query) const {
    const int heads = attention.spec.QueriesPerKvHead();
    return KvHead() * heads + (FirstQuery() + query) % heads;
  }
  /// The share or token of the group that asks one of the block's queries.
  FMA_DEVICE int Asker(int query) const {
    return (FirstQuery() + query) / attention.spec.QueriesPerKvHead();
  }

  FMA_DEVICE const float* BiasesOf(int query) const {
    return attention.far_bias + int64_t{Head(query)} * attention.spec.hierarchy.num_levels;
  }

  /// Starts with what shares found, if `found`: that of a query is place(query).
  template <typename List, typename Place>
  FMA_DEVICE void StartWithShares(const List& list, bool found, const Place& place) const {
    list.Start(
        found, [&](int query) { return Load(Mass(Head(query), place(query))); },
        [&](int query, int channel) { return Load(Summary(Head(query), place(query)) + channel); });
  }

  /// Lets `queries` queries meet the summaries of `runs`.
  template <typename List>
  FMA_DEVICE void MeetSummaries(const List& list, const EncoderRuns& runs, int queries) const {
    const int keys = runs.Count();
    const int64_t key_column = attention.spec.num_heads + KvHead();
    const int64_t value_column = key_column + attention.spec.num_kv_heads;
    EncoderRuns::Cursor cursor(runs);
    const auto key = [&](int number) -> typename List::Key {
      const EncoderRuns::Cursor::Found found = cursor.At(number);
      return {Summary(key_column, found.place), Summary(value_column, found.place),
              found.level - 1};
    };
    list.Meet(keys, key, [this](int query) { return BiasesOf(query); });
    if (far_scores == nullptr || ThreadIndex() != 0) return;
    AtomicAdd(far_scores, static_cast<unsigned long long>(keys) * queries);
  }
};

/// The shares of a group's query summaries become what their tokens see of this level and of all
/// above. Blocks: (group of the level, KV head); y: queries.
template <int kQueries, int kTile>
struct EncoderSharesKernel : EncoderAttention {
  using List = EncoderList<kQueries, kTile>;
  static constexpr int kThreads = 256;
  static_assert(kThreads == List::kThreads);
  static constexpr const char* kName = "encoder_shares";

  static constexpr int64_t SharedMemory(const AttentionSpec& spec) {
    return List::SharedMemory(spec.head_dim) + EncoderRuns::SharedMemory(1);
  }

  FMA_DEVICE void operator()() const {
    const AttentionSpec& spec = attention.spec;
    const Hierarchy& h = spec.hierarchy;
    const EncoderGroup group = Group();
    const int64_t first_share = group.index * h.rank;
    const int64_t existing = h.ShareOf(level, group.length - 1) + 1 - first_share;
    const auto shares = static_cast<int>(existing < h.rank ? existing : h.rank);
    const int left = shares * spec.QueriesPerKvHead() - FirstQuery();
    if (left <= 0) return;
    const int queries = left < kQueries ? left : kQueries;

    SharedArena arena;
    const List list(arena, spec.head_dim, queries);
    EncoderRuns runs(arena, 1);
    runs.List(*this, group, group.index << (level - 1), level, 1);
    const int64_t place = Place(level, group.sequence, group.index);
    const auto own = [&](int query) { return place + Asker(query); };
    list.SetQueries(
        [&](int query, int channel) { return Load(Summary(Head(query), own(query)) + channel); });
    const bool is_top = level == h.VisibleLevels(group.length);
    const int64_t places_above = is_top ? 0 : Place(level + 1, group.sequence, 0);
    const auto above = [&](int query) {
      return places_above + Hierarchy::ParentShare(first_share + Asker(query));
    };
    StartWithShares(list, !is_top, above);
    SyncThreads();
    MeetSummaries(list, runs, queries);
    for (int i = ThreadIndex(); i < queries * spec.head_dim; i += kThreads) {
      const int query = i / spec.head_dim;
      const int channel = i % spec.head_dim;
      Store(Summary(Head(query), own(query)) + channel, list.Mean(query, channel));
    }
    if (ThreadIndex() >= queries) return;
    Store(Mass(Head(ThreadIndex()), own(ThreadIndex())), list.Mass(ThreadIndex()));
  }
};

/// The tokens of a fine group see their near field, and all levels or what their share found.
/// Blocks: (fine group, KV head); y: queries.
template <int kQueries, int kTile>
struct EncoderBlocksKernel : EncoderAttention {
  using List = EncoderList<kQueries, kTile>;
  static constexpr int kThreads = 256;
  static_assert(kThreads == List::kThreads);
  static constexpr const char* kName = "encoder_blocks";

  static constexpr int64_t SharedMemory(const AttentionSpec& spec, int levels) {
    return List::SharedMemory(spec.head_dim) + EncoderRuns::SharedMemory(levels);
  }

  FMA_DEVICE void operator()() const {
    const AttentionSpec& spec = attention.spec;
    const Hierarchy& h = spec.hierarchy;
    const EncoderGroup group = Group();
    const int64_t first_token = group.index * h.group_size;
    const int64_t tokens = group.length - first_token;
    const int left =
        static_cast<int>(tokens < h.group_size ? tokens : h.group_size) * spec.QueriesPerKvHead() -
        FirstQuery();
    if (left <= 0) return;
    const int queries = left < kQueries ? left : kQueries;
    const auto position = [&](int query) { return first_token + Asker(query); };

    SharedArena arena;
    const List list(arena, spec.head_dim, queries);
    EncoderRuns runs(arena, at.levels);
    const int levels = h.VisibleLevels(group.length);
    runs.List(*this, group, group.index, 1, spec.query_downsampling ? 0 : levels);
    const bool asks_by_share = spec.query_downsampling && levels > 0;
    const int64_t places = asks_by_share ? Place(1, group.sequence, 0) : 0;
    StartWithShares(list, asks_by_share,
                    [&](int query) { return places + h.ShareOf(1, position(query)); });
    const auto place = [&](QueryForm form) {
      list.SetQueries([&](int query, int channel) {
        const float* const own = Token(group.first_row + position(query), Head(query));
        return QueryChannel(attention, own, TurnOf(spec, form, position(query)), channel);
      });
    };
    const QueryForm far = spec.FarIsRotated() ? QueryForm::kPlaced : QueryForm::kFar;
    place(far);
    SyncThreads();
    MeetSummaries(list, runs, queries);
    if (far != QueryForm::kPlaced && spec.positions == PositionEmbedding::kRope) {
      place(QueryForm::kPlaced);
      SyncThreads();
    }
    MeetTokens(list, group);
    for (int i = ThreadIndex(); i < queries * spec.head_dim; i += kThreads) {
      const int query = i / spec.head_dim;
      const int64_t row = group.first_row + position(query);
      Store(out + (row * spec.num_heads + Head(query)) * spec.head_dim + i % spec.head_dim,
            list.Mean(query, i % spec.head_dim));
    }
  }

 private:
  FMA_DEVICE void MeetTokens(const List& list, const EncoderGroup& group) const {
    const AttentionSpec& spec = attention.spec;
    const Hierarchy& h = spec.hierarchy;
    const GroupRange groups =
        Hierarchy::NearGroups(group.index, h.GroupsWithTokens(1, group.length));
    const int64_t first_token = groups.first * h.group_size;
    const int64_t end = groups.end * h.group_size;
    const int64_t row = group.first_row + first_token;
    const int64_t key_column = spec.num_heads + KvHead();
    const auto key = [&](int number) -> typename List::Key {
      return {Token(row + number, key_column), Token(row + number, key_column + spec.num_kv_heads),
              -1};
    };
    list.Meet(static_cast<int>((end < group.length ? end : group.length) - first_token), key,
              [this](int query) { return BiasesOf(query); });
  }
};

}  // namespace fmaserver::kernels::cuda
