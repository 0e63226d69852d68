// Decode: one token of one sequence in one KV head, from the QKV product to the attention's output.
//
// A block takes the head: it rotates query and key, writes key and value into the slot, adds them
// to the running sums, attends with one online softmax over tiles of visible columns, and closes
// the groups that the token completed. Nothing in the slot is read twice, except what was just
// written.
//
// In a tile of kTile columns, kKeyLanes neighbouring lanes take a key: each sums its channels'
// share of the scores of all kHeads query heads, so the heads share the loads of keys. Then a warp
// takes a head, for the softmax. Then a thread takes four channels and a slice of the columns, and
// adds weighted values to its own accumulators in shared memory. Query heads beyond kHeads take
// another pass over the columns.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/decode_inputs.h"
#include "kernels/cuda/attention/head_cache.h"
#include "kernels/cuda/attention/softmax.h"
#include "kernels/cuda/attention/visible_columns.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// T: the slot's element type; kHeads: query heads of a pass, a power of two up to 8; kWide: a load
/// brings 16 bytes of a key, because its channels fill such pieces.
template <typename T, int kHeads, bool kWide>
struct DecodeAttentionKernel {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = kHeads > 1 ? 2 : 3;
  static constexpr const char* kName = "decode_attention";
  static constexpr int kTile = 128;
  static constexpr int kVec = kWide ? 16 / static_cast<int>(sizeof(T)) : 1;
  static constexpr int kKeyLanes = 8;
  static constexpr int kKeyGroups = kThreads / kKeyLanes;
  static constexpr int kKeys = kTile / kKeyGroups;  ///< of a tile that a lane has a share of
  static constexpr int kUnroll = 8;                 ///< loads of values that a thread has in flight
  static constexpr int kValues = 4;                 ///< channels in one load of values

  DeviceAttention attention;
  SlotLayout layout;
  const DecodeRow* rows = nullptr;  ///< [blocks / K]
  int32_t layer = 0;
  const float* qkv = nullptr;  ///< [., QkvColumns()]
  float* out = nullptr;        ///< [., H*d]

  /// Into how many slices a tile's columns are divided, each with its own sums.
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
    const int64_t tile = 2 * SharedBytes<int>(kTile) + SharedBytes<float>(kHeads * kTile);
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
    // No thread needs what closing replaces any more: the last pass ended with a barrier.
    const DecodeRow row = Row();
    Cache(row).CloseGroups(row.position + 1);
  }

 private:
  struct Memory {
    FMA_DEVICE explicit Memory(const SlotLayout& layout)
        : Memory(SharedArena(), static_cast<int>(layout.padded_dim),
                 static_cast<int>(Accumulators(layout))) {}

    Shared<float> near_query;  // [kHeads, D], scaled by 1/sqrt(d), rotated
    Shared<float> far_query;   // [kHeads, D], rotated if the far field's keys are
    Shared<float> key;         // [D]
    Shared<float> placed_key;  // [D]
    Shared<float> value;       // [D]
    Shared<int> column;        // [kTile]
    Shared<int> level;         // [kTile]
    Shared<float> weight;      // [kHeads, kTile]: scores, then weights
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
          sum(arena.Take<float>(kHeads * accumulators)),
          softmax(arena, kHeads) {}
  };

  FMA_DEVICE int KvHead() const {
    return static_cast<int>(BlockIndex() % attention.spec.num_kv_heads);
  }
  /// Every phase loads it again, because keeping it in a register through all phases costs more.
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

  /// Appends the token to the slot; false when there is none.
  FMA_DEVICE bool Append(const Memory& memory) const {
    const DecodeRow row = Row();
    if (row.slot == nullptr) return false;
    const TokenVectors token = {memory.key, memory.placed_key, memory.value};
    PlaceToken(attention, layout, Input(row), row.position, KvHead(), token);
    SyncThreads();
    const HeadCache<T> cache = Cache(row);
    cache.WriteToken(row.position, token);
    cache.AddToken(row.position, token);
    return true;
  }

  FMA_DEVICE void AttendHeads(const Memory& memory, int first_head, int count) const {
    const DecodeRow row = Row();
    const HeadCache<T> cache = Cache(row);
    const int64_t fine_group = layout.hierarchy.FineGroup(row.position);
    const VisibleColumns visible(layout.hierarchy, fine_group, row.position + 1);
    PlaceQueries<kHeads>(attention, layout, Input(row), row.position, {first_head, count},
                         memory.near_query, memory.far_query);
    for (int i = ThreadIndex(); i < kHeads * Accumulators(layout); i += kThreads) {
      memory.sum.Set(i, 0.0F);
    }
    if (ThreadIndex() < count) {
      memory.softmax.Start(ThreadIndex(), attention, layout.hierarchy, first_head + ThreadIndex(),
                           fine_group);
    }
    AttendRange(memory, cache, visible, {memory.far_query, first_head, count}, 0,
                visible.far_end());
    AttendRange(memory, cache, visible, {memory.near_query, first_head, count}, visible.far_end(),
                visible.count());
    StoreOutput(memory, first_head, count);
    SyncThreads();
  }

  /// The query heads of a pass, rotated or not, as the keys at hand are.
  struct Queries {
    Shared<float> query;  // [kHeads, D]
    int first_head;
    int count;
  };

  /// Attends to entries [first, end) of the visible columns.
  FMA_DEVICE void AttendRange(const Memory& memory, const HeadCache<T>& cache,
                              const VisibleColumns& visible, const Queries& queries, int first,
                              int end) const {
    FMA_NO_UNROLL
    for (int tile = first; tile < end; tile += kTile) {
      const int columns = end - tile < kTile ? end - tile : kTile;
      if (ThreadIndex() < columns) {
        const VisibleKey key = visible.At(tile + ThreadIndex());
        memory.column.Set(ThreadIndex(), static_cast<int>(ColumnOf(layout, key)));
        memory.level.Set(ThreadIndex(), key.level);
      }
      SyncThreads();
      Score(memory, cache, queries, columns);
      SyncThreads();
      if (WarpIndex() < queries.count) {
        memory.softmax.Advance(WarpIndex(), memory.weight, WarpIndex() * kTile, columns);
      }
      SyncThreads();
      AddValues(memory, cache, queries.count, columns);
      SyncThreads();
    }
  }

  /// Writes the scores to weight[head][column]; the scores of heads past the last are zeros.
  FMA_DEVICE void Score(const Memory& memory, const HeadCache<T>& cache, const Queries& queries,
                        int columns) const {
    const int lane = ThreadIndex() % kKeyLanes;
    const int group = ThreadIndex() / kKeyLanes;
    const int stride = static_cast<int>(layout.padded_dim);
    float score[kHeads][kKeys] = {};
    FMA_NO_UNROLL
    for (int c = lane * kVec; c < layout.head_dim; c += kKeyLanes * kVec) {
      Vec<T, kVec> part[kKeys] = {};
      FMA_UNROLL
      for (int k = 0; k < kKeys; ++k) {
        const int at = group + k * kKeyGroups;
        if (at >= columns) continue;
        const T* key = cache.KeyAt(memory.column.Get(at), c);
        part[k] = Load(reinterpret_cast<const Vec<T, kVec>*>(key));
      }
      FMA_UNROLL
      for (int h = 0; h < kHeads; ++h) {
        FMA_UNROLL
        for (int v = 0; v < kVec; ++v) {
          const float channel = queries.query.Get(h * stride + c + v);
          FMA_UNROLL
          for (int k = 0; k < kKeys; ++k) score[h][k] += channel * ToFloat(part[k].lane[v]);
        }
      }
    }
    FMA_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      FMA_UNROLL
      for (int k = 0; k < kKeys; ++k) {
        const int at = group + k * kKeyGroups;
        const float sum = SumOfKeyLanes(score[h][k]);
        if (lane != h % kKeyLanes || at >= columns) continue;
        memory.weight.Set(h * kTile + at,
                          h < queries.count ? sum + Bias(queries, h, memory.level.Get(at)) : 0.0F);
      }
    }
  }

  FMA_DEVICE static float SumOfKeyLanes(float value) {
    FMA_UNROLL
    for (int step = kKeyLanes / 2; step > 0; step /= 2) value += ShuffleXor(value, step);
    return value;
  }

  FMA_DEVICE float Bias(const Queries& queries, int head, int level) const {
    if (level <= 0) return 0.0F;
    return LoadConstant(attention.far_bias +
                        int64_t{queries.first_head + head} * layout.hierarchy.num_levels + level -
                        1);
  }

  /// Adds to sum[head], for this thread's channels and slice of columns.
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

}  // namespace fmaserver::kernels::cuda
