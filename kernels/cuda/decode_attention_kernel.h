// Decode: one token of one sequence in one KV head, from the QKV product to the attention's output.
//
// A block takes the head: it rotates query and key, writes key and value into the slot, adds them
// to the running sums, attends with one online softmax over tiles of visible columns, and closes
// the groups that the token completed. Nothing of the slot is read twice but what was just written.
//
// In a tile of kTile columns, threads are first (kVec columns, slice of channels): each sums its
// part of the scores of all kHeads query heads, so the heads share the loads of keys, and
// neighbours load neighbouring columns. Then a warp takes a head: softmax. Then threads are (four
// channels, slice of columns): each adds weighted values to its own accumulators in shared memory.
// Query heads beyond kHeads take another pass over the columns.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_data.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/head_cache.h"
#include "kernels/cuda/rotation.h"
#include "kernels/cuda/softmax.h"
#include "kernels/cuda/visible_columns.h"

namespace fmaserver::cuda {

/// Whether every visible run of columns starts at a multiple of 4 and, but for the token's own
/// group, ends at one.
constexpr bool LoadsFourColumns(const Hierarchy& hierarchy) {
  return hierarchy.sink_tokens % 4 == 0 && hierarchy.rank % 4 == 0 && hierarchy.group_size % 4 == 0;
}

/// T: the slot's element type; kHeads: query heads of a pass, a power of two up to 8; kVec: columns
/// that one load brings, 4 or 1.
template <typename T, int kHeads, int kVec>
struct DecodeAttentionKernel {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = kVec == 1 || kHeads * sizeof(T) > 4 ? 2 : 3;
  static constexpr const char* kName = "decode_attention";
  static constexpr int kTile = kVec == 4 ? 128 : 64;
  static constexpr int kUnits = kTile / kVec;
  static constexpr int kSlices = kThreads / kUnits;
  static constexpr int kUnroll = 8;  ///< loads of keys that a thread has under way
  static constexpr int kValues = 4;  ///< channels that one load of values brings

  DeviceAttention attention;
  SlotLayout layout;
  const DecodeRow* rows = nullptr;  ///< [blocks / K]
  int32_t layer = 0;
  const float* qkv = nullptr;  ///< [., QkvColumns()]
  float* out = nullptr;        ///< [., H*d]

  /// Slices of a tile's columns that are summed apart.
  static constexpr int ValueSlices(const SlotLayout& layout) {
    return kThreads / static_cast<int>(layout.padded_dim / kValues);
  }
  /// Accumulators of one head: [slices, D].
  static constexpr int64_t Accumulators(const SlotLayout& layout) {
    return ValueSlices(layout) * layout.padded_dim;
  }
  static constexpr int64_t SharedMemory(const SlotLayout& layout) {
    const int64_t queries = 2 * SharedBytes<float>(kHeads * layout.padded_dim);
    const int64_t token = 3 * SharedBytes<float>(layout.padded_dim);
    const int64_t tile = 2 * SharedBytes<int>(kTile) + SharedBytes<float>(kHeads * kTile) +
                         SharedBytes<float>(kSlices * kHeads * kTile);
    const int64_t sums = SharedBytes<float>(kHeads * Accumulators(layout));
    return queries + token + tile + sums + SoftmaxState::SharedMemory(kHeads);
  }

  FMA_DEVICE void operator()() const {
    const Memory memory(layout);
    if (!Append(memory)) return;
    const int heads = attention.spec.QueriesPerKvHead();
    FMA_NO_UNROLL
    for (int first = 0; first < heads; first += kHeads) {
      AttendHeads(memory, KvHead() * heads + first,
                  heads - first < kHeads ? heads - first : kHeads);
    }
    // Every thread has seen what closing replaces: the last pass ended with a barrier.
    const DecodeRow row = Row();
    Cache(row).CloseGroups(row.position + 1);
  }

 private:
  struct Memory {
    FMA_DEVICE explicit Memory(const SlotLayout& layout)
        : Memory(SharedArena(), static_cast<int>(layout.padded_dim),
                 static_cast<int>(Accumulators(layout))) {}

    Shared<float> near_query;  // [kHeads, D], scaled by 1/sqrt(d), rotated
    Shared<float> far_query;   // [kHeads, D], as the far field's keys want them
    Shared<float> key;         // [D]
    Shared<float> placed_key;  // [D]
    Shared<float> value;       // [D]
    Shared<int> column;        // [kTile]
    Shared<int> level;         // [kTile]
    Shared<float> weight;      // [kHeads, kTile]: scores, then weights
    Shared<float> partial;     // [kSlices, kHeads, kTile]
    Shared<float> sum;         // [kHeads, Accumulators()]
    SoftmaxState softmax;      // of kHeads rows

   private:
    FMA_DEVICE Memory(SharedArena arena, int dim, int accumulators)
        : near_query(arena.Take<float>(kHeads * dim)),
          far_query(arena.Take<float>(kHeads * dim)),
          key(arena.Take<float>(dim)),
          placed_key(arena.Take<float>(dim)),
          value(arena.Take<float>(dim)),
          column(arena.Take<int>(kTile)),
          level(arena.Take<int>(kTile)),
          weight(arena.Take<float>(kHeads * kTile)),
          partial(arena.Take<float>(kSlices * kHeads * kTile)),
          sum(arena.Take<float>(kHeads * accumulators)),
          softmax(arena, kHeads) {}
  };

  FMA_DEVICE bool Rotates() const { return attention.spec.positions == PositionEmbedding::kRope; }

  FMA_DEVICE int KvHead() const {
    return static_cast<int>(BlockIndex() % attention.spec.num_kv_heads);
  }
  /// Loaded anew by every phase: a register that is kept through all of them costs more.
  FMA_DEVICE DecodeRow Row() const {
    const DecodeRow* row = rows + BlockIndex() / attention.spec.num_kv_heads;
    return {Load(&row->slot), Load(&row->position), Load(&row->row)};
  }
  FMA_DEVICE HeadCache<T> Cache(const DecodeRow& row) const {
    return HeadCache<T>(attention, layout, row.slot + layout.HeadOffset(layer, KvHead()));
  }
  FMA_DEVICE const float* Input(const DecodeRow& row) const {
    return qkv + row.row * attention.spec.QkvColumns();
  }

  /// Takes the token into the slot; false: there is none.
  FMA_DEVICE bool Append(const Memory& memory) const {
    const DecodeRow row = Row();
    if (row.slot == nullptr) return false;
    PlaceToken(memory, row, KvHead());
    SyncThreads();
    const TokenVectors token = {memory.key, memory.placed_key, memory.value};
    const HeadCache<T> cache = Cache(row);
    cache.WriteToken(row.position, token);
    cache.AddToken(row.position, token);
    return true;
  }

  /// The token's key and value from the product into shared memory.
  FMA_DEVICE void PlaceToken(const Memory& memory, const DecodeRow& row, int kv_head) const {
    const AttentionSpec& spec = attention.spec;
    const int dim = spec.head_dim;
    const float* key = Input(row) + int64_t{spec.num_heads + kv_head} * dim;
    const float* value = key + int64_t{spec.num_kv_heads} * dim;
    const int half = dim / 2;
    FMA_NO_UNROLL
    for (int c = ThreadIndex(); c < layout.padded_dim; c += kThreads) {
      const float own = c < dim ? LoadConstant(key + c) : 0.0F;
      memory.key.Set(c, own);
      memory.value.Set(c, c < dim ? LoadConstant(value + c) : 0.0F);
      if (!Rotates()) {
        memory.placed_key.Set(c, own);
      } else if (c < half) {
        const Turn turn =
            TurnAt(static_cast<double>(row.position), LoadConstant(attention.frequencies + c));
        const float other = LoadConstant(key + half + c);
        memory.placed_key.Set(c, own * turn.cosine - other * turn.sine);
        memory.placed_key.Set(half + c, other * turn.cosine + own * turn.sine);
      } else if (c >= dim) {
        memory.placed_key.Set(c, 0.0F);
      }
    }
  }

  /// `count` queries from head `first_head` on, scaled: as near and as far keys want them.
  FMA_DEVICE void PlaceQueries(const Memory& memory, const DecodeRow& row, int first_head,
                               int count) const {
    const int dim = attention.spec.head_dim;
    const int stride = static_cast<int>(layout.padded_dim);
    const int pairs = (dim + 1) / 2;
    const int half = dim / 2;
    const float scale = 1.0F / sqrtf(static_cast<float>(dim));
    FMA_NO_UNROLL
    for (int i = ThreadIndex(); i < kHeads * pairs; i += kThreads) {
      const int head = i / pairs;
      const int low = i % pairs;
      const int high = low < half ? low + half : dim;  // an odd dimension's last has no partner
      const int at = head * stride;
      // Heads past the last score nothing that is used, but must score something.
      const bool real = head < count;
      const float* query = Input(row) + int64_t{first_head + head} * dim;
      const int own_channel = low < half ? low : dim - 1;
      const float own = real ? LoadConstant(query + own_channel) * scale : 0.0F;
      const float other = real && high < dim ? LoadConstant(query + high) * scale : 0.0F;
      Turn turn = {1.0F, 0.0F};
      if (Rotates()) {
        turn = TurnAt(static_cast<double>(row.position), LoadConstant(attention.frequencies + low));
      }
      const float placed = own * turn.cosine - other * turn.sine;
      const float placed_other = other * turn.cosine + own * turn.sine;
      const bool far_is_placed = attention.spec.FarIsRotated();
      memory.near_query.Set(at + own_channel, placed);
      memory.far_query.Set(at + own_channel, far_is_placed ? placed : own);
      if (high == dim) continue;
      memory.near_query.Set(at + high, placed_other);
      memory.far_query.Set(at + high, far_is_placed ? placed_other : other);
    }
  }

  FMA_DEVICE void AttendHeads(const Memory& memory, int first_head, int count) const {
    const DecodeRow row = Row();
    const HeadCache<T> cache = Cache(row);
    const int64_t fine_group = layout.hierarchy.FineGroup(row.position);
    const VisibleColumns visible(layout.hierarchy, fine_group, row.position + 1);
    PlaceQueries(memory, row, first_head, count);
    for (int i = ThreadIndex(); i < kHeads * Accumulators(layout); i += kThreads) {
      memory.sum.Set(i, 0.0F);
    }
    if (ThreadIndex() < count) {
      memory.softmax.Start(ThreadIndex(), attention, layout.hierarchy, first_head + ThreadIndex(),
                           fine_group);
    }
    FMA_NO_UNROLL
    for (int tile = 0; tile < visible.count(); tile += kTile) {
      const int rest = visible.count() - tile;
      const int columns = rest < kTile ? rest : kTile;
      if (ThreadIndex() < columns) {
        const VisibleKey key = visible.At(tile + ThreadIndex());
        memory.column.Set(ThreadIndex(), static_cast<int>(ColumnOf(layout, key)));
        memory.level.Set(ThreadIndex(), key.level);
      }
      SyncThreads();
      Score(memory, cache, columns);
      SyncThreads();
      Weigh(memory, first_head, count, columns);
      SyncThreads();
      AddValues(memory, cache, count, columns);
      SyncThreads();
    }
    StoreOutput(memory, first_head, count);
    SyncThreads();
  }

  /// partial[slice][head][column]: this slice of channels' share of the scores.
  FMA_DEVICE void Score(const Memory& memory, const HeadCache<T>& cache, int columns) const {
    const int rest = columns - ThreadIndex() % kUnits * kVec;
    if (rest >= kVec) {
      ScoreUnit<true>(memory, cache, kVec);
    } else if (rest > 0) {
      ScoreUnit<false>(memory, cache, rest);
    }
  }

  /// kWhole: all kVec columns are visible, else the first `count`.
  template <bool kWhole>
  FMA_DEVICE void ScoreUnit(const Memory& memory, const HeadCache<T>& cache, int count) const {
    using Keys = Vec<T, kVec>;
    const int tile_column = ThreadIndex() % kUnits * kVec;
    const int slice = ThreadIndex() / kUnits;
    const int dim = attention.spec.head_dim;
    const int stride = static_cast<int>(layout.padded_dim);
    const int per_slice = (dim + kSlices - 1) / kSlices;
    const int end = (slice + 1) * per_slice < dim ? (slice + 1) * per_slice : dim;
    const Shared<float> query =
        memory.level.Get(tile_column) == VisibleKey::kNear ? memory.near_query : memory.far_query;
    const int64_t column = memory.column.Get(tile_column);
    float score[kHeads][kVec] = {};
    FMA_NO_UNROLL
    for (int c = slice * per_slice; c < end; c += kUnroll) {
      Keys keys[kUnroll] = {};
      FMA_UNROLL
      for (int i = 0; i < kUnroll; ++i) {
        if (c + i >= end) continue;
        const T* key = cache.KeyAt(c + i, column);
        if constexpr (kWhole) {
          keys[i] = Load(reinterpret_cast<const Keys*>(key));
        } else {
          FMA_UNROLL
          for (int v = 0; v < kVec; ++v) {
            if (v < count) keys[i].lane[v] = Load(key + v);
          }
        }
      }
      FMA_UNROLL
      for (int i = 0; i < kUnroll; ++i) {
        if (c + i >= end) continue;
        FMA_UNROLL
        for (int h = 0; h < kHeads; ++h) {
          const float channel = query.Get(h * stride + c + i);
          FMA_UNROLL
          for (int v = 0; v < kVec; ++v) score[h][v] += channel * ToFloat(keys[i].lane[v]);
        }
      }
    }
    FMA_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      FMA_UNROLL
      for (int v = 0; v < kVec; ++v) {
        memory.partial.Set((slice * kHeads + h) * kTile + tile_column + v, score[h][v]);
      }
    }
  }

  /// A warp for each head: scores become weights, and the softmax moves on.
  FMA_DEVICE void Weigh(const Memory& memory, int first_head, int count, int columns) const {
    const int head = WarpIndex();
    if (head >= kHeads) return;
    if (head >= count) {
      for (int i = LaneIndex(); i < columns; i += kWarpSize) memory.weight.Set(head * kTile + i, 0);
      return;
    }
    FMA_NO_UNROLL
    for (int column = LaneIndex(); column < columns; column += kWarpSize) {
      float score = 0;
      for (int slice = 0; slice < kSlices; ++slice) {
        score += memory.partial.Get((slice * kHeads + head) * kTile + column);
      }
      const int level = memory.level.Get(column);
      if (level > 0) {
        score += LoadConstant(attention.far_bias +
                              int64_t{first_head + head} * layout.hierarchy.num_levels + level - 1);
      }
      memory.weight.Set(head * kTile + column, score);
    }
    memory.softmax.Advance(head, memory.weight, head * kTile, columns);
  }

  /// sum[head] of this thread's channels and slice of columns.
  FMA_DEVICE void AddValues(const Memory& memory, const HeadCache<T>& cache, int count,
                            int columns) const {
    using Values = Vec<T, kValues>;
    constexpr int kRows = kUnroll;
    const int dim = static_cast<int>(layout.padded_dim);
    const int lanes = dim / kValues;
    const int slices = ValueSlices(layout);
    const int slice = ThreadIndex() / lanes;
    if (slice >= slices) return;
    const int channel = ThreadIndex() % lanes * kValues;
    const int per_slice = (columns + slices - 1) / slices;
    const int end = (slice + 1) * per_slice < columns ? (slice + 1) * per_slice : columns;
    float sum[kHeads][kValues] = {};
    FMA_NO_UNROLL
    for (int j = slice * per_slice; j < end; j += kRows) {
      Values values[kRows] = {};
      FMA_UNROLL
      for (int i = 0; i < kRows; ++i) {
        if (j + i >= end) continue;
        const T* row = cache.ValueAt(memory.column.Get(j + i), channel);
        values[i] = Load(reinterpret_cast<const Values*>(row));
      }
      FMA_UNROLL
      for (int i = 0; i < kRows; ++i) {
        if (j + i >= end) continue;
        FMA_UNROLL
        for (int h = 0; h < kHeads; ++h) {
          const float weight = memory.weight.Get(h * kTile + j + i);
          FMA_UNROLL
          for (int v = 0; v < kValues; ++v) sum[h][v] += weight * ToFloat(values[i].lane[v]);
        }
      }
    }
    FMA_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      if (h >= count) continue;
      const int at = h * static_cast<int>(Accumulators(layout)) + slice * dim + channel;
      const float rescale = memory.softmax.Rescale(h);
      FMA_UNROLL
      for (int v = 0; v < kValues; ++v) {
        memory.sum.Set(at + v, memory.sum.Get(at + v) * rescale + sum[h][v]);
      }
    }
  }

  FMA_DEVICE void StoreOutput(const Memory& memory, int first_head, int count) const {
    const int dim = attention.spec.head_dim;
    const int padded = static_cast<int>(layout.padded_dim);
    const int slices = ValueSlices(layout);
    float* to = out + Row().row * attention.spec.num_heads * dim + int64_t{first_head} * dim;
    FMA_NO_UNROLL
    for (int i = ThreadIndex(); i < count * dim; i += kThreads) {
      const int head = i / dim;
      float sum = 0;
      for (int slice = 0; slice < slices; ++slice) {
        sum += memory.sum.Get(head * static_cast<int>(Accumulators(layout)) + slice * padded +
                              i % dim);
      }
      Store(to + i, sum / memory.softmax.Total(head));
    }
  }
};

}  // namespace fmaserver::cuda
