// Prefill attention on tensor cores: bfloat16 slots with up to kDim channels for each head.
//
// A block of four warps takes 64 queries (pairs of row and query head) of one KV head and walks
// their list of keys in tiles of 64, first the far field, then the near field. Keys lie in shared
// memory by rows, values by columns, so that both are read as fragments of pairs. A warp keeps 16
// queries, their scores and their outputs in registers; the weights of one product are, in place,
// the left side of the next. Queries and weights are rounded to bfloat16, sums are float32.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/prefill_head.h"
#include "kernels/cuda/attention/query.h"
#include "kernels/cuda/attention/softmax.h"
#include "kernels/cuda/runtime/tensor_core.h"

namespace fmaserver::kernels::cuda {

/// Blocks: (query block, KV head); y: the block's queries, kQueries at a time.
template <int kDim>
struct TensorAttentionKernel : PrefillParameters {
  static constexpr int kThreads = 128;
  static constexpr const char* kName = "tensor_attention";
  static constexpr int kQueries = 64;
  static constexpr int kTile = 64;
  static constexpr int kWarpQueries = 16;
  static constexpr int kSteps = kDim / 16;  ///< of a sum over channels
  static constexpr int kKeyGroups = kTile / 8;
  static constexpr int kChannelGroups = kDim / 8;
  static constexpr int kStride = kDim + 8;      ///< of queries and keys, against bank conflicts
  static constexpr int kKeyStride = kTile + 8;  ///< of transposed values

  static constexpr int64_t SharedMemory() {
    return SharedBytes<BFloat16>(kQueries * kStride) + SharedBytes<BFloat16>(kTile * kStride) +
           SharedBytes<BFloat16>(kDim * kKeyStride) + SharedBytes<KeySource<BFloat16>>(kTile) +
           SharedBytes<int>(kTile) + SharedBytes<int64_t>(kTile);
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
    const PrefillHead<BFloat16> head(*this, block.segment, kv_head);
    const int64_t position = head.position() + block.first;
    const int64_t fine_group = layout.hierarchy.FineGroup(position);
    const VisibleColumns visible(layout.hierarchy, fine_group, position + block.rows);

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
    const int far_end = visible.far_end();
    PlaceQueries(memory, head, block, first, count, attention.spec.FarIsRotated(), &warp);
    for (int tile = 0; tile < far_end; tile += kTile) {
      AttendTile(memory, head, visible, tile, far_end, &warp);
    }
    const bool differ =
        attention.spec.positions == PositionEmbedding::kRope && !attention.spec.FarIsRotated();
    if (differ) PlaceQueries(memory, head, block, first, count, true, &warp);
    for (int tile = far_end; tile < visible.count(); tile += kTile) {
      AttendTile(memory, head, visible, tile, visible.count(), &warp);
    }
    StoreOutput(warp);
  }

 private:
  struct Memory {
    FMA_DEVICE Memory() : Memory(SharedArena()) {}

    Shared<BFloat16> query;              // [kQueries, kStride]
    Shared<BFloat16> key;                // [kTile, kStride]
    Shared<BFloat16> value;              // [kDim, kKeyStride], transposed
    Shared<KeySource<BFloat16>> source;  // [kTile]
    Shared<int> level;                   // [kTile]
    Shared<int64_t> position;            // [kTile]

   private:
    FMA_DEVICE explicit Memory(SharedArena arena)
        : query(arena.Take<BFloat16>(kQueries * kStride)),
          key(arena.Take<BFloat16>(kTile * kStride)),
          value(arena.Take<BFloat16>(kDim * kKeyStride)),
          source(arena.Take<KeySource<BFloat16>>(kTile)),
          level(arena.Take<int>(kTile)),
          position(arena.Take<int64_t>(kTile)) {}
  };

  /// A query that a lane has a share of.
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
    FragmentA query[kSteps];
    FragmentC output[kChannelGroups];
  };

  FMA_DEVICE Row RowOf(const PrefillHead<BFloat16>& head, const QueryBlock& block, int first,
                       int query) const {
    const int heads = attention.spec.QueriesPerKvHead();
    const int64_t row = block.first + (first + query) / heads;
    return {head.position() + row, head.MatrixRow(row),
            head.kv_head() * heads + (first + query) % heads, true};
  }

  /// All queries into shared memory, and the warp's from there into its fragments.
  FMA_DEVICE void PlaceQueries(const Memory& memory, const PrefillHead<BFloat16>& head,
                               const QueryBlock& block, int first, int count, bool rotated,
                               Warp* warp) const {
    SyncThreads();
    for (int i = ThreadIndex(); i < kQueries * kDim; i += kThreads) {
      const int query = i / kDim;
      const int channel = i % kDim;
      BFloat16 element = {0};
      if (query < count && channel < layout.head_dim) {
        const Row row = RowOf(head, block, first, query);
        const float* from = qkv + row.matrix_row * attention.spec.QkvColumns() +
                            int64_t{row.head} * layout.head_dim;
        element =
            FromFloat<BFloat16>(QueryChannel(attention, from, row.position, channel, rotated));
      }
      memory.query.Set(query * kStride + channel, element);
    }
    SyncThreads();
    const int at = (WarpIndex() * kWarpQueries + LaneIndex() / 4) * kStride + LaneIndex() % 4 * 2;
    FMA_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      FMA_UNROLL
      for (int i = 0; i < 4; ++i) {
        warp->query[step].pair[i] =
            memory.query.template GetAs<uint32_t>(at + i % 2 * 8 * kStride + step * 16 + i / 2 * 8);
      }
    }
  }

  FMA_DEVICE void AttendTile(const Memory& memory, const PrefillHead<BFloat16>& head,
                             const VisibleColumns& visible, int tile, int end, Warp* warp) const {
    const int keys = end - tile < kTile ? end - tile : kTile;
    SyncThreads();  // the tile before has been read
    if (ThreadIndex() < keys) {
      const VisibleKey key = visible.At(tile + ThreadIndex());
      memory.source.Set(ThreadIndex(), head.Find(key));
      memory.level.Set(ThreadIndex(), key.level);
      memory.position.Set(ThreadIndex(), key.position);
    }
    SyncThreads();
    LoadTile(memory, keys);
    SyncThreads();
    FragmentC score[kKeyGroups];
    Score(memory, *warp, score);
    MaskAndBias(memory, *warp, keys, score);
    Advance(score, warp);
    AddValues(memory, score, warp);
  }

  /// Eight channels for each item; keys that are not there become zeros.
  FMA_DEVICE void LoadTile(const Memory& memory, int keys) const {
    using Eight = Vec<BFloat16, 8>;
    for (int i = ThreadIndex(); i < kTile * kChannelGroups; i += kThreads) {
      const int key = i / kChannelGroups;
      const int channel = i % kChannelGroups * 8;
      Eight eight = {};
      if (key < keys && channel < layout.head_dim) {
        const BFloat16* from = memory.source.Get(key).key + channel;
        if (layout.head_dim % 8 == 0) {
          eight = Load(reinterpret_cast<const Eight*>(from));
        } else {  // rows of the slot begin anywhere
          FMA_UNROLL
          for (int c = 0; c < 8; ++c) {
            if (channel + c < layout.head_dim) eight.lane[c] = Load(from + c);
          }
        }
      }
      memory.key.SetAs(key * kStride + channel, eight);
    }
    for (int i = ThreadIndex(); i < kTile * kChannelGroups; i += kThreads) {
      const int key = i % kTile;
      const int channel = i / kTile * 8;
      Eight eight = {};
      if (key < keys && channel < layout.head_dim) {
        eight = Load(reinterpret_cast<const Eight*>(memory.source.Get(key).value + channel));
      }
      FMA_UNROLL
      for (int c = 0; c < 8; ++c) {
        memory.value.Set((channel + c) * kKeyStride + key, eight.lane[c]);
      }
    }
  }

  FMA_DEVICE void Score(const Memory& memory, const Warp& warp, FragmentC* score) const {
    FMA_UNROLL
    for (int group = 0; group < kKeyGroups; ++group) {
      const int at = (group * 8 + LaneIndex() / 4) * kStride + LaneIndex() % 4 * 2;
      FMA_UNROLL
      for (int step = 0; step < kSteps; ++step) {
        const FragmentB key = {{memory.key.template GetAs<uint32_t>(at + step * 16),
                                memory.key.template GetAs<uint32_t>(at + step * 16 + 8)}};
        MultiplyAdd(warp.query[step], key, &score[group]);
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

  /// Scores become weights; what was summed before shrinks with the new maximum.
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
    FMA_UNROLL
    for (int step = 0; step < kTile / 16; ++step) {
      const float* low = weight[2 * step].value;
      const float* high = weight[2 * step + 1].value;
      const FragmentA weights = {{PackPair(low[0], low[1]), PackPair(low[2], low[3]),
                                  PackPair(high[0], high[1]), PackPair(high[2], high[3])}};
      FMA_UNROLL
      for (int group = 0; group < kChannelGroups; ++group) {
        const int at = (group * 8 + LaneIndex() / 4) * kKeyStride + step * 16 + LaneIndex() % 4 * 2;
        const FragmentB value = {{memory.value.template GetAs<uint32_t>(at),
                                  memory.value.template GetAs<uint32_t>(at + 8)}};
        MultiplyAdd(weights, value, &warp->output[group]);
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
