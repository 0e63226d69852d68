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
//
// With selected tokens the groups that come into view were chosen before (choose_groups_kernel.h),
// nothing is summed or closed, and the scores are kept to the end: only then is it known what each
// entry of the list receives. The rows of a slice are computed by the same code, so that they leave
// the same bits: their tokens are in the slot already, and what they give goes to `given`, from
// where it is added row by row (selected_rows_kernel.h).
//
// What rows have opened is one more part of their softmax, which attend_units_kernel.h has
// computed; it is joined with the rest at the end.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/decode_inputs.h"
#include "kernels/cuda/attention/head_cache.h"
#include "kernels/cuda/attention/open_notes.h"
#include "kernels/cuda/attention/opened_part.h"
#include "kernels/cuda/attention/selected_rows.h"
#include "kernels/cuda/attention/selection_scratch.h"
#include "kernels/cuda/attention/softmax.h"
#include "kernels/cuda/attention/visible_columns.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// T: the slot's element type; kHeads: query heads of a pass, a power of two up to 8; kWide: a load
/// brings kWideElements channels of a key, which fill such pieces; kSelects: tokens are selected.
template <typename T, int kHeads, bool kWide, bool kSelects>
struct DecodeAttentionKernel {
  static constexpr int kThreads = 256;
  static constexpr bool kMostRegisters = kHeads == 8 && (!kWide || (kHasScales<T> && kSelects));
  /// As many as the registers of all heads' scores allow without spilling.
  static constexpr int kMinBlocks = kMostRegisters ? 1 : kHeads == 1 && !kHasScales<T> ? 3 : 2;
  static constexpr const char* kName = "decode_attention";
  static constexpr int kTile = 128;
  /// 16 bytes; of integers eight channels, so that the key's lanes all have some.
  static constexpr int kWideElements = kHasScales<T> ? 8 : 16 / static_cast<int>(sizeof(T));
  static constexpr int kVec = kWide ? kWideElements : 1;
  static constexpr int kKeyLanes = 8;
  static constexpr int kKeyGroups = kThreads / kKeyLanes;
  static constexpr int kKeys = kTile / kKeyGroups;  ///< of a tile that a lane has a share of
  static constexpr int kUnroll = 8;                 ///< loads of values that a thread has in flight
  static constexpr int kValues = 4;                 ///< channels in one load of values

  DeviceAttention attention;
  SlotLayout layout;
  const DecodeRow* rows = nullptr;  ///< [blocks / K]
  int32_t layer = 0;
  const float* qkv = nullptr;    ///< [., QkvColumns()]
  float* out = nullptr;          ///< [., H*d]; kSelects: null when no output is needed
  std::byte* scratch = nullptr;  ///< kSelects: DevicePlan's
  float* given = nullptr;  ///< kSelects: [blocks, MaxEntries()] of a slice's rows; null: decodes
  /// kSelects: what the rows open, [blocks] of open.bytes; null: no row opens units.
  std::byte* notes = nullptr;
  OpenScratch open;

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
    const int64_t tile = 2 * SharedBytes<int>(kTile) + SharedBytes<int>(VisibleColumns::kParts) +
                         SharedBytes<float>(kHeads * kTile) + 2 * SharedBytes<float>(kScales);
    const int64_t sums = SharedBytes<float>(kHeads * Accumulators(layout));
    const int64_t kept =
        SharedBytes<float>(kHeads * Kept(layout)) + SharedBytes<float>(Kept(layout));
    return queries + token + tile + sums + kept + SoftmaxState::SharedMemory(kHeads);
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
    const DecodeRow row = Row();
    if constexpr (kSelects) {
      Give(memory, row);
    } else {
      // No thread needs what closing replaces any more: the last pass ended with a barrier.
      Cache(row).CloseGroups(row.position + 1);
    }
  }

 private:
  static constexpr int kScales = kHasScales<T> ? kTile : 0;

  /// Entries of the list whose scores are kept.
  static constexpr int64_t Kept(const SlotLayout& layout) {
    return kSelects ? MaxEntries(layout) : 0;
  }

  struct Memory {
    FMA_DEVICE explicit Memory(const SlotLayout& layout)
        : Memory(SharedArena(), static_cast<int>(layout.padded_dim),
                 static_cast<int>(Accumulators(layout)), static_cast<int>(Kept(layout))) {}

    Shared<float> placed_query;  // [kHeads, D], scaled, as all forms
    Shared<float> far_query;     // [kHeads, D]
    Shared<float> key;           // [D]
    Shared<float> placed_key;    // [D]
    Shared<float> value;         // [D]
    Shared<int> column;          // [kTile]
    Shared<int> level;           // [kTile]
    Shared<float> key_scale;     // [kScales], of the columns
    Shared<float> value_scale;   // [kScales]
    Shared<int> part_end;        // [VisibleColumns::kParts]
    Shared<float> weight;        // [kHeads, kTile]: scores, then weights
    Shared<float> sum;           // [kHeads, Accumulators()]
    Shared<float> score;         // [kHeads, Kept()]
    Shared<float> received;      // [Kept()]: weights, summed over heads
    SoftmaxState softmax;        // of kHeads rows

   private:
    FMA_DEVICE Memory(SharedArena arena, int dim, int accumulators, int kept)
        : placed_query(arena.Take<float>(kHeads * dim)),
          far_query(arena.Take<float>(kHeads * dim)),
          key(arena.Take<float>(dim)),
          placed_key(arena.Take<float>(dim)),
          value(arena.Take<float>(dim)),
          column(arena.Take<int>(kTile)),
          level(arena.Take<int>(kTile)),
          key_scale(arena.Take<float>(kScales)),
          value_scale(arena.Take<float>(kScales)),
          part_end(arena.Take<int>(VisibleColumns::kParts)),
          weight(arena.Take<float>(kHeads * kTile)),
          sum(arena.Take<float>(kHeads * accumulators)),
          score(arena.Take<float>(kHeads * kept)),
          received(arena.Take<float>(kept)),
          softmax(arena, kHeads) {}
  };

  FMA_DEVICE int KvHead() const {
    return static_cast<int>(BlockIndex() % attention.spec.num_kv_heads);
  }
  /// Every phase loads it again, because keeping it in a register through all phases costs more.
  FMA_DEVICE DecodeRow Row() const {
    return LoadRow<kSelects>(rows + BlockIndex() / attention.spec.num_kv_heads);
  }
  FMA_DEVICE HeadCache<T> Cache(const DecodeRow& row) const {
    return HeadCache<T>(attention, layout, HeadOf(layout, row, scratch, layer, KvHead()));
  }
  FMA_DEVICE const float* Input(const DecodeRow& row) const {
    return qkv + row.row * attention.spec.QkvColumns();
  }

  /// Appends the token to the slot; false when there is none.
  FMA_DEVICE bool Append(const Memory& memory) const {
    const DecodeRow row = Row();
    if (row.slot == nullptr) return false;
    if (kSelects && given != nullptr) return true;  // the slice's tokens are there already
    const TokenVectors token = {memory.key, memory.placed_key, memory.value};
    PlaceToken(attention, layout, Input(row), row.position, KvHead(), token);
    SyncThreads();
    const HeadCache<T> cache = Cache(row);
    cache.WriteToken(row.position, token);
    if constexpr (!kSelects) {
      cache.AddToken(row.position, token);
    } else if (ThreadIndex() == 0) {
      Store(cache.Received(layout.NearColumn(row.position)), 0.0);
    }
    return true;
  }

  FMA_DEVICE void AttendHeads(const Memory& memory, int first_head, int count) const {
    const DecodeRow row = Row();
    const HeadCache<T> cache = Cache(row);
    const int64_t fine_group = layout.hierarchy.FineGroup(row.position);
    const VisibleColumns visible(attention.spec, layout, fine_group);
    PlaceQueries<kHeads>(attention, layout, Input(row), row.position, {first_head, count},
                         memory.placed_query, memory.far_query);
    for (int i = ThreadIndex(); i < kHeads * Accumulators(layout); i += kThreads) {
      memory.sum.Set(i, 0.0F);
    }
    if (ThreadIndex() < count) {
      memory.softmax.Start(ThreadIndex(), attention, layout.hierarchy, first_head + ThreadIndex(),
                           fine_group);
    }
    if (ThreadIndex() < VisibleColumns::kParts) {
      memory.part_end.Set(ThreadIndex(),
                          visible.PartEnd(ThreadIndex(), row.position, row.position + 1));
    }
    SyncThreads();
    FMA_NO_UNROLL
    for (int part = 0; part < VisibleColumns::kParts; ++part) {
      // One row's sinks are a part of their own only where they are met like near tokens.
      const bool far = VisibleColumns::FormOf(part) == QueryForm::kFar;
      AttendPart(memory, cache, visible,
                 {far ? memory.far_query : memory.placed_query, first_head, count}, part);
    }
    if constexpr (kSelects) {
      if (Opened().Count() > 0) {
        if (WarpIndex() < count) {
          const int head = first_head % attention.spec.QueriesPerKvHead() + WarpIndex();
          Opened().Join(memory.softmax, WarpIndex(), head);
        }
        SyncThreads();
      }
    }
    if (!kSelects || out != nullptr) StoreOutput(memory, first_head, count);
    if constexpr (kSelects) {
      const bool is_first = first_head == KvHead() * attention.spec.QueriesPerKvHead();
      SumOverHeads(memory, visible.Count(Row().position + 1), count, is_first);
    }
    SyncThreads();
  }

  /// What the row has opened. Every phase finds it again, as with Row().
  FMA_DEVICE OpenedPart Opened() const {
    const DecodeRow row = Row();
    const bool opens = notes != nullptr && row.archive >= 0;
    return OpenedPart(attention.spec,
                      OpenNotes(open, attention.spec, layout, notes + BlockIndex() * open.bytes),
                      opens ? OpenedUnits(attention.spec, row.position) : 0);
  }

  /// The query heads of a pass, rotated or not, as the keys at hand are.
  struct Queries {
    Shared<float> query;  // [kHeads, D]
    int first_head;
    int count;
  };

  /// Attends to the entries of a part. Its end is loaded again for every tile.
  FMA_DEVICE void AttendPart(const Memory& memory, const HeadCache<T>& cache,
                             const VisibleColumns& visible, const Queries& queries,
                             int part) const {
    FMA_NO_UNROLL
    for (int tile = part == 0 ? 0 : memory.part_end.Get(part - 1); tile < memory.part_end.Get(part);
         tile += kTile) {
      const int left = memory.part_end.Get(part) - tile;
      const int columns = left < kTile ? left : kTile;
      if (ThreadIndex() < columns) {
        const VisibleKey key = visible.At(tile + ThreadIndex());
        const int64_t column = ColumnOf(layout, key);
        memory.column.Set(ThreadIndex(), static_cast<int>(column));
        memory.level.Set(ThreadIndex(), key.level);
        if constexpr (kHasScales<T>) {
          memory.key_scale.Set(ThreadIndex(), cache.KeyScale(column));
          memory.value_scale.Set(ThreadIndex(), cache.ValueScale(column));
        }
      }
      SyncThreads();
      Score(memory, cache, queries, tile, columns);
      SyncThreads();
      if constexpr (kSelects) HideOpened(memory, cache, queries, tile, columns);
      if (WarpIndex() < queries.count) {
        memory.softmax.Advance(WarpIndex(), memory.weight, WarpIndex() * kTile, columns);
      }
      SyncThreads();
      if (!kSelects || out != nullptr) AddValues(memory, cache, queries.count, columns);
      SyncThreads();
    }
  }

  /// Takes the representatives that were opened out of a tile: their weights are those that they
  /// get as opened tokens.
  FMA_DEVICE void HideOpened(const Memory& memory, const HeadCache<T>& cache,
                             const Queries& queries, int first, int columns) const {
    const OpenedPart opened = Opened();
    if (opened.Count() == 0) return;
    if (ThreadIndex() < columns && memory.level.Get(ThreadIndex()) > 0) {
      const int64_t position = Load(cache.Position(memory.column.Get(ThreadIndex())));
      const int place = opened.PlaceOf(position);
      const int head = queries.first_head % attention.spec.QueriesPerKvHead();
      FMA_NO_UNROLL
      for (int h = 0; h < queries.count && place >= 0; ++h) {
        memory.weight.Set(h * kTile + ThreadIndex(), kHiddenScore);
        memory.score.Set(h * static_cast<int>(Kept(layout)) + first + ThreadIndex(),
                         opened.ScoreOf(place, head + h, position));
      }
    }
    SyncThreads();
  }

  /// Writes the scores to weight[head][column]; the scores of heads past the last are zeros.
  FMA_DEVICE void Score(const Memory& memory, const HeadCache<T>& cache, const Queries& queries,
                        int first, int columns) const {
    const int lane = ThreadIndex() % kKeyLanes;
    const int group = ThreadIndex() / kKeyLanes;
    const int stride = static_cast<int>(layout.padded_dim);
    float sums[kHeads][kKeys] = {};
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
          for (int k = 0; k < kKeys; ++k) sums[h][k] += channel * ToFloat(part[k].lane[v]);
        }
      }
    }
    FMA_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      FMA_UNROLL
      for (int k = 0; k < kKeys; ++k) {
        const int at = group + k * kKeyGroups;
        float sum = SumOfKeyLanes(sums[h][k]);
        if (lane != h % kKeyLanes || at >= columns) continue;
        if constexpr (kHasScales<T>) sum *= memory.key_scale.Get(at);
        const float score = h < queries.count ? sum + Bias(queries, h, memory.level.Get(at)) : 0.0F;
        memory.weight.Set(h * kTile + at, score);
        if constexpr (kSelects) {
          memory.score.Set(h * static_cast<int>(Kept(layout)) + first + at, score);
        }
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
          float weight = memory.weight.Get(h * kTile + j + i);
          if constexpr (kHasScales<T>) weight *= memory.value_scale.Get(j + i);
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

  /// memory.received of `entries` entries: the weights of the pass's `count` heads, in order, on
  /// top of those of earlier passes.
  FMA_DEVICE void SumOverHeads(const Memory& memory, int entries, int count, bool is_first) const {
    const auto kept = static_cast<int>(Kept(layout));
    FMA_NO_UNROLL
    for (int entry = ThreadIndex(); entry < entries; entry += kThreads) {
      float sum = is_first ? 0.0F : memory.received.Get(entry);
      FMA_NO_UNROLL
      for (int h = 0; h < count; ++h) {
        const float weight = FastExp(memory.score.Get(h * kept + entry) - memory.softmax.Max(h));
        sum = std::fma(weight, 1.0F / memory.softmax.Total(h), sum);
      }
      memory.received.Set(entry, sum);
    }
  }

  /// Hands out what the entries of the list received; each thread has its own since SumOverHeads.
  FMA_DEVICE void Give(const Memory& memory, const DecodeRow& row) const {
    const HeadCache<T> cache = Cache(row);
    const VisibleColumns visible(attention.spec, layout, layout.hierarchy.FineGroup(row.position));
    const int entries = visible.Count(row.position + 1);
    FMA_NO_UNROLL
    for (int entry = ThreadIndex(); entry < entries; entry += kThreads) {
      const float received = memory.received.Get(entry);
      if (given != nullptr) {
        Store(given + BlockIndex() * MaxEntries(layout) + entry, received);
        continue;
      }
      const VisibleKey key = visible.At(entry);
      if (!Receives(attention.spec, key, row.position)) continue;
      double* sum = cache.Received(ColumnOf(layout, key));
      Store(sum, Load(sum) + static_cast<double>(received));
    }
  }

  FMA_DEVICE void StoreOutput(const Memory& memory, int first_head, int count) const {
    const int dim = attention.spec.head_dim;
    const int padded = static_cast<int>(layout.padded_dim);
    const int slices = ValueSlices(layout);
    float* to = out + Row().row * attention.spec.num_heads * dim + int64_t{first_head} * dim;
    [[maybe_unused]] const int opened = kSelects ? Opened().Count() : 0;
    [[maybe_unused]] const int local = first_head % attention.spec.QueriesPerKvHead();
    FMA_NO_UNROLL
    for (int i = ThreadIndex(); i < count * dim; i += kThreads) {
      const int head = i / dim;
      float sum = 0;
      for (int slice = 0; slice < slices; ++slice) {
        sum += memory.sum.Get(head * static_cast<int>(Accumulators(layout)) + slice * padded +
                              i % dim);
      }
      if constexpr (kSelects) {
        if (opened > 0)
          sum = sum * memory.softmax.Rescale(head) + Opened().Output(local + head, i % dim);
      }
      Store(to + i, sum / memory.softmax.Total(head));
    }
  }
};

}  // namespace fmaserver::kernels::cuda
