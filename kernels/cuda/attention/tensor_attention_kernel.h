// Prefill attention on tensor cores: bfloat16 and int8 slots with up to kDim channels for each
// head.
//
// A block of four warps takes 64 queries (pairs of row and query head) of one KV head and walks
// their list of keys part by part in tiles of 64. Queries, keys and
// values lie in shared memory by rows; values are transposed when they are loaded into fragments. A
// warp keeps the scores and the outputs of 16 queries in registers; the weights that come out of
// the first product are, where they are, the left side of the second. Queries and weights are
// rounded to bfloat16, sums are float32. Integers are bfloat16 as they are: their scales are
// applied to scores, and to weights before these are rounded.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/prefill_head.h"
#include "kernels/cuda/attention/query.h"
#include "kernels/cuda/attention/softmax.h"
#include "kernels/cuda/runtime/tensor_core.h"

namespace fmaserver::kernels::cuda {

/// Blocks: (query block, KV head); y: the block's queries, kQueries at a time.
template <typename T, int kDim>
struct TensorAttentionKernel : PrefillParameters {
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 4;
  static constexpr const char* kName = "tensor_attention";
  static constexpr int kQueries = 64;
  static constexpr int kTile = 64;
  static constexpr int kWarpQueries = 16;
  static constexpr int kSteps = kDim / 16;  ///< of a sum over channels
  static constexpr int kKeyGroups = kTile / 8;
  static constexpr int kChannelGroups = kDim / 8;
  static constexpr int kStride = kDim + 8;  ///< of rows in shared memory, against bank conflicts
  static_assert(kSteps % 2 == 0, "keys come for two steps at a time");

  static constexpr int64_t SharedMemory() {
    return SharedBytes<BFloat16>(kQueries * kStride) + 2 * SharedBytes<BFloat16>(kTile * kStride) +
           SharedBytes<KeySource<T>>(kTile) + SharedBytes<int>(kTile) +
           SharedBytes<int64_t>(kTile) + 2 * SharedBytes<float>(kScales);
  }

  FMA_DEVICE void operator()() const {
    const auto [item, kv_head] = ThisBlock(attention.spec);
    const QueryBlock block = LoadBlock(plan.blocks + item);
    const int heads = attention.spec.QueriesPerKvHead();
    const int first = static_cast<int>(BlockIndexY()) * kQueries;
    const int all = block.rows * heads;
    if (first >= all) return;
    const int count = all - first < kQueries ? all - first : kQueries;
    const Memory memory;
    const PrefillHead<T> head(*this, block.segment, kv_head);
    const int64_t position = head.position() + block.first;
    const int64_t fine_group = layout.hierarchy.FineGroup(position);
    const VisibleColumns visible(attention.spec, layout, fine_group);

    Warp warp;
    for (int half = 0; half < 2; ++half) {
      const int query = WarpIndex() * kWarpQueries + LaneIndex() / 4 + 8 * half;
      warp.row[half] = RowOf(head, block, first, query < count ? query : 0);
      warp.row[half].real = query < count;
      const SoftmaxStart start =
          StartSoftmax(attention, layout.hierarchy, warp.row[half].head, fine_group);
      warp.max[half] = start.max;
      // The four lanes of a row add up at the end.
      warp.total[half] = LaneIndex() % 4 == 0 ? start.total : 0.0F;
    }
    int tile = 0;
    FMA_NO_UNROLL
    for (int part = 0; part < VisibleColumns::kParts; ++part) {
      const int end = visible.PartEnd(part, position, position + block.rows);
      if (tile == end) continue;
      PlaceQueries(memory, head, block, first, count, VisibleColumns::FormOf(part));
      FMA_NO_UNROLL
      for (; tile < end; tile += kTile) AttendTile(memory, head, visible, tile, end, &warp);
      tile = end;
    }
    StoreOutput(warp);
  }

 private:
  using Eight = Vec<BFloat16, 8>;
  static constexpr int kScales = kHasScales<T> ? kTile : 0;

  struct Memory {
    FMA_DEVICE Memory() : Memory(SharedArena()) {}

    Shared<BFloat16> query;       // [kQueries, kStride]
    Shared<BFloat16> key;         // [kTile, kStride]
    Shared<BFloat16> value;       // [kTile, kStride]
    Shared<KeySource<T>> source;  // [kTile]
    Shared<int> level;            // [kTile]
    Shared<int64_t> position;     // [kTile]
    Shared<float> key_scale;      // [kScales]
    Shared<float> value_scale;    // [kScales]

   private:
    FMA_DEVICE explicit Memory(SharedArena arena)
        : query(arena.Take<BFloat16>(kQueries * kStride)),
          key(arena.Take<BFloat16>(kTile * kStride)),
          value(arena.Take<BFloat16>(kTile * kStride)),
          source(arena.Take<KeySource<T>>(kTile)),
          level(arena.Take<int>(kTile)),
          position(arena.Take<int64_t>(kTile)),
          key_scale(arena.Take<float>(kScales)),
          value_scale(arena.Take<float>(kScales)) {}
  };

  /// A query that a lane has a part of.
  struct Row {
    int64_t position;
    int64_t matrix_row;
    int head;
    bool real;
  };

  /// What a lane keeps of its warp's 16 queries: rows g and g + 8 of every fragment.
  struct Warp {
    Row row[2];
    float max[2];
    float total[2];
    FragmentC output[kChannelGroups];
  };

  FMA_DEVICE Row RowOf(const PrefillHead<T>& head, const QueryBlock& block, int first,
                       int query) const {
    const int heads = attention.spec.QueriesPerKvHead();
    const int64_t row = block.first + (first + query) / heads;
    return {head.position() + row, head.MatrixRow(row),
            head.kv_head() * heads + (first + query) % heads, true};
  }

  /// Brings all queries into shared memory.
  FMA_DEVICE void PlaceQueries(const Memory& memory, const PrefillHead<T>& head,
                               const QueryBlock& block, int first, int count,
                               QueryForm form) const {
    SyncThreads();
    const int dim = layout.head_dim;
    const bool turns = TurnOf(attention.spec, form, 0).turns;
    // Each item is two channels of a query: those that rotate together, or neighbours.
    constexpr int kPairs = kDim / 2;
    FMA_NO_UNROLL
    for (int i = ThreadIndex(); i < kQueries * kPairs; i += kThreads) {
      const int query = i / kPairs;
      const int pair = i % kPairs;
      const int low = turns && pair < dim / 2 ? pair : 2 * pair;
      const int high = turns && pair < dim / 2 ? dim / 2 + pair : 2 * pair + 1;
      ChannelPair both = {0.0F, 0.0F};
      if (query < count && low < dim) {
        const Row row = RowOf(head, block, first, query);
        const float* from = head.Query(row.matrix_row - head.MatrixRow(0), row.head);
        const QueryTurn turn = TurnOf(attention.spec, form, row.position);
        if (turns) {
          both = RotatedPair(attention, from, turn.position, pair);
        } else {
          both.low = QueryChannel(attention, from, turn, low);
          if (high < dim) both.high = QueryChannel(attention, from, turn, high);
        }
      }
      memory.query.Set(query * kStride + low, FromFloat<BFloat16>(both.low));
      memory.query.Set(query * kStride + high, FromFloat<BFloat16>(both.high));
    }
  }

  FMA_DEVICE void AttendTile(const Memory& memory, const PrefillHead<T>& head,
                             const VisibleColumns& visible, int tile, int end, Warp* warp) const {
    const int keys = end - tile < kTile ? end - tile : kTile;
    SyncThreads();  // the tile before has been read
    if (ThreadIndex() < keys) {
      const VisibleKey key = visible.At(tile + ThreadIndex());
      const KeySource<T> source = head.Find(key);
      memory.source.Set(ThreadIndex(), source);
      if constexpr (kHasScales<T>) {
        memory.key_scale.Set(ThreadIndex(), source.KeyScale());
        memory.value_scale.Set(ThreadIndex(), source.ValueScale());
      }
      memory.level.Set(ThreadIndex(), key.level);
      memory.position.Set(ThreadIndex(), key.position);
    }
    SyncThreads();
    LoadTile(memory, keys);
    SyncThreads();
    FragmentC score[kKeyGroups];
    Score(memory, score);
    MaskAndBias(memory, *warp, keys, score);
    Advance(score, warp);
    if constexpr (kHasScales<T>) ScaleWeights(memory, keys, score);
    AddValues(memory, score, warp);
  }

  FMA_DEVICE void ScaleWeights(const Memory& memory, int keys, FragmentC* weight) const {
    FMA_UNROLL
    for (int group = 0; group < kKeyGroups; ++group) {
      FMA_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int key = group * 8 + LaneIndex() % 4 * 2 + i % 2;
        if (key < keys) weight[group].value[i] *= memory.value_scale.Get(key);
      }
    }
  }

  /// Loads eight channels for each item; keys past the end become zeros. The loads of kAtOnce items
  /// are in flight together.
  FMA_DEVICE void LoadTile(const Memory& memory, int keys) const {
    constexpr int kAtOnce = 4;
    constexpr int kItems = kTile * kChannelGroups;
    static_assert(kItems % (kAtOnce * kThreads) == 0);
    const bool wide = layout.head_dim % 8 == 0;
    FMA_NO_UNROLL
    for (int first = ThreadIndex(); first < kItems; first += kAtOnce * kThreads) {
      Eight key[kAtOnce] = {};
      Eight value[kAtOnce] = {};
      FMA_UNROLL
      for (int i = 0; i < kAtOnce; ++i) {
        const int at = (first + i * kThreads) / kChannelGroups;
        const int channel = (first + i * kThreads) % kChannelGroups * 8;
        if (at >= keys || channel >= layout.head_dim) continue;
        const KeySource<T> source = memory.source.Get(at);
        key[i] = wide ? LoadEight(source.key + channel) : LoadOdd(source.key, channel);
        value[i] = LoadEight(source.value + channel);
      }
      FMA_UNROLL
      for (int i = 0; i < kAtOnce; ++i) {
        const int at = (first + i * kThreads) / kChannelGroups;
        const int channel = (first + i * kThreads) % kChannelGroups * 8;
        memory.key.SetAs(at * kStride + channel, key[i]);
        memory.value.SetAs(at * kStride + channel, value[i]);
      }
    }
  }

  FMA_DEVICE static BFloat16 AsBFloat16(T element) {
    if constexpr (kHasScales<T>) {
      return FromFloat<BFloat16>(static_cast<float>(element));
    } else {
      return element;
    }
  }

  FMA_DEVICE static Eight LoadEight(const T* from) {
    const auto loaded = Load(reinterpret_cast<const Vec<T, 8>*>(from));
    Eight eight;
    FMA_UNROLL
    for (int c = 0; c < 8; ++c) eight.lane[c] = AsBFloat16(loaded.lane[c]);
    return eight;
  }

  /// Loads from a slot whose keys need not be aligned.
  FMA_DEVICE Eight LoadOdd(const T* key, int channel) const {
    Eight eight = {};
    FMA_UNROLL
    for (int c = 0; c < 8; ++c) {
      if (channel + c < layout.head_dim) eight.lane[c] = AsBFloat16(Load(key + channel + c));
    }
    return eight;
  }

  FMA_DEVICE void Score(const Memory& memory, FragmentC* score) const {
    const int row = LaneIndex() % 8;
    const int matrix = LaneIndex() / 8;
    const int query_row = WarpIndex() * kWarpQueries + matrix % 2 * 8 + row;
    FMA_UNROLL
    for (int step = 0; step < kSteps; step += 2) {
      FragmentA query[2];
      FMA_UNROLL
      for (int i = 0; i < 2; ++i) {
        LoadMatrices(memory.query, query_row * kStride + (step + i) * 16 + matrix / 2 * 8,
                     query[i].pair);
      }
      FMA_UNROLL
      for (int group = 0; group < kKeyGroups; ++group) {
        uint32_t pair[4];
        LoadMatrices(memory.key, (group * 8 + row) * kStride + step * 16 + matrix * 8, pair);
        MultiplyAdd(query[0], {{pair[0], pair[1]}}, &score[group]);
        MultiplyAdd(query[1], {{pair[2], pair[3]}}, &score[group]);
      }
    }
  }

  FMA_DEVICE void MaskAndBias(const Memory& memory, const Warp& warp, int keys,
                              FragmentC* score) const {
    FMA_UNROLL
    for (int group = 0; group < kKeyGroups; ++group) {
      FMA_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int key = group * 8 + LaneIndex() % 4 * 2 + i % 2;
        float& one = score[group].value[i];
        if (key >= keys) {
          one = -INFINITY;
          continue;
        }
        if constexpr (kHasScales<T>) one *= memory.key_scale.Get(key);
        const Row& row = warp.row[i / 2];
        const int level = memory.level.Get(key);
        if (level > 0) {
          one += LoadConstant(attention.far_bias + int64_t{row.head} * layout.hierarchy.num_levels +
                              level - 1);
        } else if (level == VisibleKey::kNear && memory.position.Get(key) > row.position) {
          one = -INFINITY;
        }
      }
    }
  }

  /// Turns scores into weights, and scales earlier sums down to the new maximum.
  FMA_DEVICE void Advance(FragmentC* score, Warp* warp) const {
    FMA_UNROLL
    for (int half = 0; half < 2; ++half) {
      float max = warp->max[half];
      FMA_UNROLL
      for (int group = 0; group < kKeyGroups; ++group) {
        FMA_UNROLL
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          max = score[group].value[i] > max ? score[group].value[i] : max;
        }
      }
      for (int lanes = 1; lanes < 4; lanes *= 2) {
        const float other = ShuffleXor(max, lanes);
        max = other > max ? other : max;
      }
      const float rescale = FastExp(warp->max[half] - max);
      warp->max[half] = max;
      float sum = 0;
      FMA_UNROLL
      for (int group = 0; group < kKeyGroups; ++group) {
        FMA_UNROLL
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          score[group].value[i] = FastExp(score[group].value[i] - max);
          sum += score[group].value[i];
        }
      }
      warp->total[half] = warp->total[half] * rescale + sum;
      FMA_UNROLL
      for (int group = 0; group < kChannelGroups; ++group) {
        warp->output[group].value[2 * half] *= rescale;
        warp->output[group].value[2 * half + 1] *= rescale;
      }
    }
  }

  FMA_DEVICE void AddValues(const Memory& memory, const FragmentC* weight, Warp* warp) const {
    const int row = LaneIndex() % 8;
    const int matrix = LaneIndex() / 8;
    FMA_UNROLL
    for (int step = 0; step < kTile / 16; ++step) {
      const float* low = weight[2 * step].value;
      const float* high = weight[2 * step + 1].value;
      const FragmentA weights = {{PackPair(low[0], low[1]), PackPair(low[2], low[3]),
                                  PackPair(high[0], high[1]), PackPair(high[2], high[3])}};
      const int key = step * 16 + matrix % 2 * 8 + row;
      FMA_UNROLL
      for (int group = 0; group < kChannelGroups; group += 2) {
        uint32_t pair[4];
        LoadTransposed(memory.value, key * kStride + (group + matrix / 2) * 8, pair);
        MultiplyAdd(weights, {{pair[0], pair[1]}}, &warp->output[group]);
        MultiplyAdd(weights, {{pair[2], pair[3]}}, &warp->output[group + 1]);
      }
    }
  }

  FMA_DEVICE void StoreOutput(const Warp& warp) const {
    FMA_UNROLL
    for (int half = 0; half < 2; ++half) {
      float total = warp.total[half];
      for (int lanes = 1; lanes < 4; lanes *= 2) total += ShuffleXor(total, lanes);
      const Row& row = warp.row[half];
      if (!row.real) continue;
      float* to = out + (row.matrix_row * attention.spec.num_heads + row.head) * layout.head_dim;
      FMA_UNROLL
      for (int group = 0; group < kChannelGroups; ++group) {
        FMA_UNROLL
        for (int i = 0; i < 2; ++i) {
          const int channel = group * 8 + LaneIndex() % 4 * 2 + i;
          if (channel < layout.head_dim) {
            Store(to + channel, warp.output[group].value[2 * half + i] / total);
          }
        }
      }
    }
  }
};

}  // namespace fmaserver::kernels::cuda
