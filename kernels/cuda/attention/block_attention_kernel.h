// Prefill attention in float32: the queries of a fine group's rows against their one list of keys.
// Used for float32 slots, and for heads that the tensor-core kernel does not support.
//
// A block takes kQueries queries (pairs of row and query head) of one KV head. It walks the list
// part by part in tiles of kTile keys. For the scores, a thread takes a
// (key, query) pair; for the softmax, a warp takes a query; then a thread takes a channel. Keys and
// values come from the slot or from the slice's scratch.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/prefill_head.h"
#include "kernels/cuda/attention/query.h"
#include "kernels/cuda/attention/softmax.h"

namespace fmaserver::kernels::cuda {

/// Blocks: (query block, KV head); y: the block's queries, kQueries at a time.
template <typename T, int kQueries>
struct BlockAttentionKernel : PrefillParameters {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "block_attention";
  static constexpr int kTile = kWarpSize;
  static constexpr int kWarps = kThreads / kWarpSize;

  static constexpr int64_t SharedMemory(const SlotLayout& layout) {
    return 2 * SharedBytes<float>(kQueries * layout.padded_dim) +
           SharedBytes<float>(kQueries * kTile) + SharedBytes<KeySource<T>>(kTile) +
           SharedBytes<int>(kTile) + SoftmaxState::SharedMemory(kQueries);
  }

  FMA_DEVICE void operator()() const {
    const auto [item, kv_head] = ThisBlock(attention.spec);
    const QueryBlock block = LoadBlock(plan.blocks + item);
    const int heads = attention.spec.QueriesPerKvHead();
    const int first = static_cast<int>(BlockIndexY()) * kQueries;
    const int all = block.rows * heads;
    if (first >= all) return;
    const int count = all - first < kQueries ? all - first : kQueries;
    const Memory memory(layout);
    const PrefillHead<T> head(*this, block.segment, kv_head);
    const int64_t position = head.position() + block.first;
    const int64_t fine_group = layout.hierarchy.FineGroup(position);
    const VisibleColumns visible(attention.spec, layout, fine_group);

    const auto padded = static_cast<int>(layout.padded_dim);
    for (int i = ThreadIndex(); i < kQueries * padded; i += kThreads) memory.sum.Set(i, 0.0F);
    if (ThreadIndex() < count) {
      const int query_head = kv_head * heads + (first + ThreadIndex()) % heads;
      memory.softmax.Start(ThreadIndex(), attention, layout.hierarchy, query_head, fine_group);
    }
    const Queries queries = {block.first, first, count};
    int tile = 0;
    for (int part = 0; part < VisibleColumns::kParts; ++part) {
      const int end = visible.PartEnd(part, position, position + block.rows);
      if (tile == end) continue;
      PlaceQueries(memory, head, queries, VisibleColumns::FormOf(part));
      for (; tile < end; tile += kTile) AttendTile(memory, head, visible, queries, tile, end);
      tile = end;
    }
    StoreOutput(memory, head, queries);
  }

 private:
  /// Queries [first, first + count) of the block of rows that begins at row `first_row` of the
  /// slice; query q is head q % G of row q / G.
  struct Queries {
    int64_t first_row;
    int first;
    int count;
  };

  struct Memory {
    FMA_DEVICE explicit Memory(const SlotLayout& layout)
        : Memory(SharedArena(), static_cast<int>(layout.padded_dim)) {}

    Shared<float> query;          // [kQueries, D], scaled
    Shared<float> sum;            // [kQueries, D]
    Shared<float> weight;         // [kQueries, kTile]: scores, then weights
    Shared<KeySource<T>> source;  // [kTile]
    Shared<int> level;            // [kTile]
    SoftmaxState softmax;         // of kQueries rows

   private:
    FMA_DEVICE Memory(SharedArena arena, int dim)
        : query(arena.Take<float>(kQueries * dim)),
          sum(arena.Take<float>(kQueries * dim)),
          weight(arena.Take<float>(kQueries * kTile)),
          source(arena.Take<KeySource<T>>(kTile)),
          level(arena.Take<int>(kTile)),
          softmax(arena, kQueries) {}
  };

  FMA_DEVICE void PlaceQueries(const Memory& memory, const PrefillHead<T>& head,
                               const Queries& queries, QueryForm form) const {
    const auto padded = static_cast<int>(layout.padded_dim);
    const int heads = attention.spec.QueriesPerKvHead();
    for (int i = ThreadIndex(); i < queries.count * layout.head_dim; i += kThreads) {
      const int query = queries.first + i / layout.head_dim;
      const int64_t row = queries.first_row + query / heads;
      const int channel = i % layout.head_dim;
      const float* from = head.Query(row, head.kv_head() * heads + query % heads);
      memory.query.Set(i / layout.head_dim * padded + channel,
                       QueryChannel(attention, from,
                                    TurnOf(attention.spec, form, head.position() + row), channel));
    }
  }

  FMA_DEVICE void AttendTile(const Memory& memory, const PrefillHead<T>& head,
                             const VisibleColumns& visible, const Queries& queries, int tile,
                             int end) const {
    const int keys = end - tile < kTile ? end - tile : kTile;
    if (ThreadIndex() < keys) {
      const VisibleKey key = visible.At(tile + ThreadIndex());
      memory.source.Set(ThreadIndex(), head.Find(key));
      memory.level.Set(ThreadIndex(), key.level);
    }
    SyncThreads();
    // The same warp computes a query's scores and its softmax, and the same lane handles a key in
    // both.
    Score(memory, head, visible, queries, tile, keys);
    for (int query = WarpIndex(); query < queries.count; query += kWarps) {
      memory.softmax.Advance(query, memory.weight, query * kTile, keys);
    }
    SyncThreads();
    AddValues(memory, queries, keys);
    SyncThreads();
  }

  FMA_DEVICE void Score(const Memory& memory, const PrefillHead<T>& head,
                        const VisibleColumns& visible, const Queries& queries, int tile,
                        int keys) const {
    const int at = ThreadIndex() % kTile;
    if (at >= keys) return;
    const KeySource<T> source = memory.source.Get(at);
    const int level = memory.level.Get(at);
    const int64_t position = visible.At(tile + at).position;
    const auto padded = static_cast<int>(layout.padded_dim);
    const int heads = attention.spec.QueriesPerKvHead();
    for (int query = ThreadIndex() / kTile; query < queries.count; query += kThreads / kTile) {
      float score = 0;
      for (int c = 0; c < layout.head_dim; ++c) {
        score += memory.query.Get(query * padded + c) * ToFloat(Load(source.key + c));
      }
      score *= source.KeyScale();
      const int64_t row = queries.first_row + (queries.first + query) / heads;
      if (level > 0) {
        const int query_head = head.kv_head() * heads + (queries.first + query) % heads;
        score += LoadConstant(attention.far_bias +
                              int64_t{query_head} * layout.hierarchy.num_levels + level - 1);
      } else if (level == VisibleKey::kNear && position > head.position() + row) {
        score = -INFINITY;
      }
      memory.weight.Set(query * kTile + at, score);
    }
  }

  FMA_DEVICE void AddValues(const Memory& memory, const Queries& queries, int keys) const {
    const auto padded = static_cast<int>(layout.padded_dim);
    for (int i = ThreadIndex(); i < queries.count * padded; i += kThreads) {
      const int query = i / padded;
      float sum = memory.sum.Get(i) * memory.softmax.Rescale(query);
      for (int key = 0; key < keys; ++key) {
        const KeySource<T> source = memory.source.Get(key);
        sum += memory.weight.Get(query * kTile + key) * source.ValueScale() *
               ToFloat(Load(source.value + i % padded));
      }
      memory.sum.Set(i, sum);
    }
  }

  FMA_DEVICE void StoreOutput(const Memory& memory, const PrefillHead<T>& head,
                              const Queries& queries) const {
    const auto padded = static_cast<int>(layout.padded_dim);
    const int heads = attention.spec.QueriesPerKvHead();
    for (int i = ThreadIndex(); i < queries.count * layout.head_dim; i += kThreads) {
      const int in_block = i / layout.head_dim;
      const int channel = i % layout.head_dim;
      const int query = queries.first + in_block;
      const int64_t row = head.MatrixRow(queries.first_row + query / heads);
      const int query_head = head.kv_head() * heads + query % heads;
      Store(out + (row * attention.spec.num_heads + query_head) * layout.head_dim + channel,
            memory.sum.Get(in_block * padded + channel) / memory.softmax.Total(in_block));
    }
  }
};

}  // namespace fmaserver::kernels::cuda
