// Opened units: how well queries match every unit that they may open, judged by its sketch. A warp
// takes a unit; its lanes share first the channels, then the tokens.
//
// As on the CPU (kernels/cpu/sketch_scan-inl.h) the products with the levels of a sketch, 3 and 10
// in steps of 0.151 deviations, are exact sums of integers, so that they are the same in any order.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/archive_head.h"
#include "kernels/cuda/attention/open_notes.h"
#include "kernels/cuda/attention/selected_rows.h"
#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/element.h"

namespace fmaserver::kernels::cuda {

/// Blocks: (block of rows, KV head), and y: the units, dealt out to the warps of all y. T: the
/// sketches' type of number.
template <typename T>
struct ScanSketchesKernel : OpenParameters {
  static constexpr int kThreads = 128;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr int kHeads = 4;  ///< query heads that share a look at a code
  static constexpr const char* kName = "scan_sketches";

  int64_t blocks_y = 1;

  static constexpr int64_t SharedMemory(const AttentionSpec& spec, const SlotLayout& layout) {
    const int64_t queries = 2 * int64_t{spec.QueriesPerKvHead()};
    return SharedBytes<float>(queries * layout.padded_dim) + SharedBytes<float>(queries) +
           SharedBytes<int>(kWarps * kHeads * layout.padded_dim / 2);
  }

  FMA_DEVICE void operator()() const {
    const int heads = attention.spec.num_kv_heads;
    const auto kv_head = static_cast<int>(BlockIndex() % heads);
    const Rows block = RowsOf(BlockIndex() / heads);
    const Memory memory(attention.spec, layout);
    for (int64_t i = block.first; i < block.first + block.count; ++i) {
      const DecodeRow row = LoadRow(rows + i);
      const UnitRange units = OpenableUnits(attention.spec, row.position);
      if (row.slot == nullptr || row.archive < 0 || units.Count() == 0) return;
      PlaceQueries(memory, row, kv_head);
      SyncThreads();
      Scan(memory, row, kv_head, units, Notes(i, kv_head));
      SyncThreads();
    }
  }

 private:
  static constexpr float kLargestStep = 32767.0F;
  static constexpr float kLevelStep = 0.151F;
  static constexpr uint32_t kLevels = 0xF60AFD03;  // 3, -3, 10 and -10, by code

  /// Queries in the forms that units are met in: 0 in their places, 1 as if max_distance away.
  struct Memory {
    FMA_DEVICE Memory(const AttentionSpec& spec, const SlotLayout& layout)
        : Memory(SharedArena(), 2 * spec.QueriesPerKvHead(), static_cast<int>(layout.padded_dim)) {}

    Shared<float> query;  // [2, heads, D], so that the largest channel is 32767
    Shared<float> step;   // [2, heads]: what was divided by
    Shared<int> numbers;  // [kWarps, kHeads, D/2]: two 16-bit numbers each, of the unit at hand

   private:
    FMA_DEVICE Memory(SharedArena arena, int queries, int dim)
        : query(arena.Take<float>(queries * dim)),
          step(arena.Take<float>(queries)),
          numbers(arena.Take<int>(kWarps * kHeads * dim / 2)) {}
  };

  FMA_DEVICE int Dim() const { return static_cast<int>(layout.padded_dim); }

  /// A warp takes a query.
  FMA_DEVICE void PlaceQueries(const Memory& memory, const DecodeRow& row, int kv_head) const {
    const int heads = attention.spec.QueriesPerKvHead();
    const int forms = attention.spec.max_distance > 0 ? 2 : 1;
    const float* queries =
        qkv + row.row * attention.spec.QkvColumns() + int64_t{kv_head} * heads * layout.head_dim;
    for (int i = WarpIndex(); i < forms * heads; i += kWarps) {
      const QueryForm form = i < heads ? PlacedForm(attention.spec) : QueryForm::kFar;
      const QueryTurn turn = TurnOf(attention.spec, form, row.position);
      const float* query = queries + int64_t{i % heads} * layout.head_dim;
      float largest = 0;
      for (int c = LaneIndex(); c < layout.head_dim; c += kWarpSize) {
        const float channel = QueryChannel(attention, query, turn, c);
        memory.query.Set(i * Dim() + c, channel);
        const float size = channel < 0 ? -channel : channel;
        largest = size > largest ? size : largest;
      }
      largest = WarpMax(largest);
      const float scale = largest > 0 ? kLargestStep / largest : 0.0F;
      for (int c = LaneIndex(); c < Dim(); c += kWarpSize) {
        memory.query.Set(i * Dim() + c,
                         c < layout.head_dim ? memory.query.Get(i * Dim() + c) * scale : 0.0F);
      }
      if (LaneIndex() == 0) memory.step.Set(i, largest / kLargestStep);
    }
  }

  FMA_DEVICE void Scan(const Memory& memory, const DecodeRow& row, int kv_head,
                       const UnitRange& units, const OpenNotes& notes) const {
    const ArchiveHead head(attention.spec, layout, archive + row.archive,
                           HeadOf(layout, row, scratch, layer, kv_head), layer, kv_head);
    const int64_t fine_group = layout.hierarchy.FineGroup(row.position);
    const int per_group = head.UnitsPerGroup();
    for (int64_t unit = units.first + BlockIndexY() * kWarps + WarpIndex(); unit < units.end;
         unit += blocks_y * kWarps) {
      const int64_t group = unit / per_group;
      const auto i = static_cast<int>(unit % per_group);
      const bool distant = head.SeemsDistant(group, fine_group);
      const bool in_slot = attention.spec.max_distance > 0 && !distant;
      const float score = Match(
          memory, head.Sketch(), in_slot ? head.PlacedSketch(group, i) : head.KeptSketch(group, i),
          distant ? 1 : 0, layout.hierarchy.sink_tokens - unit * attention.spec.open_size);
      if (LaneIndex() == 0) Store(notes.UnitScore(unit - units.first), score);
    }
  }

  /// The largest product of any query with any token of the unit from `sinks` on, in every lane.
  /// NaN counts as the least.
  FMA_DEVICE float Match(const Memory& memory, const SketchLayout& at, const std::byte* sketch,
                         int form, int64_t sinks) const {
    const int heads = attention.spec.QueriesPerKvHead();
    const float largest = LargestDeviation(at, sketch);
    float best = -INFINITY;
    for (int first = 0; first < heads; first += kHeads) {
      const int count = heads - first < kHeads ? heads - first : kHeads;
      float centre[kHeads] = {};
      Quantise(memory, at, sketch, form * heads + first, count, largest, centre);
      SyncWarp();
      for (int token = LaneIndex(); token < attention.spec.open_size; token += kWarpSize) {
        if (token < sinks) continue;
        int sum[kHeads] = {};
        SumProducts(memory, at, sketch, token, count, sum);
        const float factor = Number(sketch + at.factors_offset, token) * (largest * kLevelStep);
        FMA_UNROLL
        for (int h = 0; h < kHeads; ++h) {
          if (h >= count) continue;
          const float product = std::fma(static_cast<float>(sum[h]), factor, centre[h]);
          const float score = product * memory.step.Get(form * heads + first + h);
          best = score > best ? score : best;
        }
      }
      SyncWarp();
    }
    return WarpMax(best);
  }

  FMA_DEVICE static float Number(const std::byte* numbers, int index) {
    return ToFloat(Load(reinterpret_cast<const T*>(numbers) + index));
  }

  FMA_DEVICE float LargestDeviation(const SketchLayout& at, const std::byte* sketch) const {
    float largest = 0;
    for (int c = LaneIndex(); c < layout.head_dim; c += kWarpSize) {
      const float deviation = Number(sketch + at.deviation_offset, c);
      largest = deviation > largest ? deviation : largest;
    }
    return WarpMax(largest);
  }

  /// Writes the 16-bit numbers of `count` queries from `query` on for the unit, and sets `centre`
  /// to their products with the mean.
  FMA_DEVICE void Quantise(const Memory& memory, const SketchLayout& at, const std::byte* sketch,
                           int query, int count, float largest, float (&centre)[kHeads]) const {
    const float scale = largest > 0 ? 1.0F / largest : 0.0F;
    for (int pair = LaneIndex(); pair < Dim() / 2; pair += kWarpSize) {
      float mean[2] = {};
      float deviation[2] = {};
      FMA_UNROLL
      for (int i = 0; i < 2; ++i) {
        if (2 * pair + i >= layout.head_dim) continue;
        mean[i] = Number(sketch, 2 * pair + i);
        deviation[i] = Number(sketch + at.deviation_offset, 2 * pair + i) * scale;
      }
      FMA_UNROLL
      for (int h = 0; h < kHeads; ++h) {
        if (h >= count) continue;
        const float low = memory.query.Get((query + h) * Dim() + 2 * pair);
        const float high = memory.query.Get((query + h) * Dim() + 2 * pair + 1);
        centre[h] = std::fma(high, mean[1], std::fma(low, mean[0], centre[h]));
        const auto both = static_cast<uint32_t>(InSteps(low * deviation[0]) & 0xFFFF) |
                          static_cast<uint32_t>(InSteps(high * deviation[1])) << 16;
        memory.numbers.Set((WarpIndex() * kHeads + h) * (Dim() / 2) + pair, static_cast<int>(both));
      }
    }
    FMA_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      if (h < count) centre[h] = WarpSum(centre[h]);
    }
  }

  /// To the nearest whole number of 16 bits; NaN, which a damaged sketch may give, is 0.
  FMA_DEVICE static int InSteps(float number) {
    if (number != number) return 0;
    const float least = number < -kLargestStep ? -kLargestStep : number;
    return static_cast<int>(std::rint(least > kLargestStep ? kLargestStep : least));
  }

  /// Adds the products of the queries' numbers with the levels of a token.
  FMA_DEVICE void SumProducts(const Memory& memory, const SketchLayout& at, const std::byte* sketch,
                              int token, int count, int (&sum)[kHeads]) const {
    const int fours = (layout.head_dim + 3) / 4;
    const int numbers = WarpIndex() * kHeads * (Dim() / 2);
    for (int four = 0; four < fours; ++four) {
      const uint32_t levels =
          LevelsOf(CodesAt(sketch + at.codes_offset, four * attention.spec.open_size + token));
      FMA_UNROLL
      for (int h = 0; h < kHeads; ++h) {
        if (h >= count) continue;
        const int pair = numbers + h * (Dim() / 2) + 2 * four;
        sum[h] = AddProducts<false>(memory.numbers.Get(pair), levels, sum[h]);
        sum[h] = AddProducts<true>(memory.numbers.Get(pair + 1), levels, sum[h]);
      }
    }
  }

  /// The byte at `index`, out of two that are loaded at once.
  FMA_DEVICE static uint32_t CodesAt(const std::byte* codes, int index) {
    const uint32_t two = Load(reinterpret_cast<const uint16_t*>(codes) + index / 2);
    return two >> (index % 2 * 8) & 0xFF;
  }

  /// Four signed bytes for the four codes of two bits each.
  FMA_DEVICE static uint32_t LevelsOf(uint32_t codes) {
    const uint32_t pairs = (codes | codes << 4) & 0x0F0F;
    return PermuteBytes(kLevels, (pairs | pairs << 2) & 0x3333);
  }
};

}  // namespace fmaserver::kernels::cuda
