// Opened units: what the tokens of a unit give to a query, as one part of its softmax, which the
// decode attention joins with the rest (decode_attention_kernel.h).
//
// A block takes a query, a KV head and one of the units that it opens. The unit is read from the
// device's cache or over the bus from the host's memory, where an archive keeps its tokens: its
// keys, then its values, each in one contiguous piece, in loads of 16 bytes where the shape allows.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/archive_head.h"
#include "kernels/cuda/attention/cache_vectors.h"
#include "kernels/cuda/attention/open_notes.h"
#include "kernels/cuda/attention/rotation.h"
#include "kernels/cuda/attention/selected_rows.h"
#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/element.h"

namespace fmaserver::kernels::cuda {

/// Blocks: (row, KV head), and y: the place of the unit in the row's list. T: the archive's element
/// type. kWide: a unit's tokens
/// and channels fill pieces of 16 bytes.
template <typename T, bool kWide>
struct AttendUnitsKernel : OpenParameters {
  static constexpr int kThreads = 128;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr int kVec = kWide ? 16 / static_cast<int>(sizeof(T)) : 1;
  static constexpr const char* kName = "attend_units";

  static constexpr int64_t SharedMemory(const AttentionSpec& spec) {
    const int64_t heads = spec.QueriesPerKvHead();
    return SharedBytes<float>(heads * spec.head_dim) +
           SharedBytes<float>(int64_t{spec.open_size} * spec.head_dim) +
           SharedBytes<float>(heads * spec.open_size) + SharedBytes<float>(Scales(spec.open_size));
  }

  FMA_DEVICE void operator()() const {
    const AttentionSpec& spec = attention.spec;
    const auto kv_head = static_cast<int>(BlockIndex() % spec.num_kv_heads);
    const int64_t i = BlockIndex() / spec.num_kv_heads;
    const auto place = static_cast<int>(BlockIndexY());
    const DecodeRow row = LoadRow(rows + i);
    if (row.slot == nullptr || row.archive < 0 || place >= OpenedUnits(spec, row.position)) return;
    const OpenNotes notes = Notes(i, kv_head);
    const int64_t unit = Load(notes.Unit(place));
    const ArchiveHead head(spec, layout, archive + row.archive, nullptr, layer, kv_head);
    const int64_t group = unit / head.UnitsPerGroup();
    const bool distant = head.SeemsDistant(group, layout.hierarchy.FineGroup(row.position));
    const Source source =
        SourceAt(notes, place, head.Tokens(group, static_cast<int>(unit % head.UnitsPerGroup())));
    const int64_t first = unit * spec.open_size;
    const Memory memory(spec);
    LoadScales(memory, source);
    PlaceQueries(memory, row, kv_head, distant ? QueryForm::kFar : PlacedForm(spec));
    LoadKeys(memory, source, spec.FarIsRotated() && !distant, first);
    SyncThreads();
    Score(memory, notes, place, layout.hierarchy.sink_tokens - first);
    SyncThreads();
    LoadValues(memory, source);
    Weigh(memory, notes, place);
    SyncThreads();
    AddValues(memory, notes, place);
  }

 private:
  /// Of the keys, then of the values, of so many tokens.
  static constexpr int Scales(int tokens) { return kHasScales<T> ? 2 * tokens : 0; }

  struct Memory {
    FMA_DEVICE explicit Memory(const AttentionSpec& spec)
        : Memory(SharedArena(), spec.QueriesPerKvHead(), spec.open_size, spec.head_dim) {}

    Shared<float> query;   // [heads, d], scaled and turned
    Shared<float> token;   // keys [d, u], then values [u, d]
    Shared<float> weight;  // [heads, u]: scores, then weights
    Shared<float> scale;   // [Scales()]

   private:
    FMA_DEVICE Memory(SharedArena arena, int heads, int tokens, int dim)
        : query(arena.Take<float>(heads * dim)),
          token(arena.Take<float>(tokens * dim)),
          weight(arena.Take<float>(heads * tokens)),
          scale(arena.Take<float>(Scales(tokens))) {}
  };

  /// A unit's tokens: numbers by their index, then bytes behind them.
  struct Source {
    const std::byte* from;
    std::byte* copy;  // a line of the cache, which gets all that is read; null: none does

    template <typename Piece>
    FMA_DEVICE Piece Read(int64_t byte) const {
      const Piece piece = Load(reinterpret_cast<const Piece*>(from + byte));
      if constexpr (kWide) {
        if (copy != nullptr) Store(reinterpret_cast<Piece*>(copy + byte), piece);
      }
      return piece;
    }
    FMA_DEVICE Vec<T, kVec> Numbers(int64_t index) const {
      return Read<Vec<T, kVec>>(index * int64_t{sizeof(T)});
    }
  };

  /// `host`: where the unit lies in its archive.
  FMA_DEVICE Source SourceAt(const OpenNotes& notes, int place, const std::byte* host) const {
    if (unit_cache.sets == 0) return {host, nullptr};
    const UnitPlace found(Load(notes.Place(place)));
    std::byte* const line =
        unit_cache.lines + (found.Line() < 0 ? 0 : found.Line()) * unit_cache.line_bytes;
    return {found.IsCopied() ? line : host, found.Fills() ? line : nullptr};
  }

  FMA_DEVICE void LoadScales(const Memory& memory, const Source& source) const {
    if constexpr (kHasScales<T>) {
      const int64_t first = 2 * int64_t{Tokens()} * Dim() * int64_t{sizeof(T)};
      for (int i = ThreadIndex(); i < Scales(Tokens()); i += kThreads) {
        memory.scale.Set(
            i, ToFloat(source.template Read<BFloat16>(first + i * ScaleSize(CacheType::kInt8))));
      }
      SyncThreads();
    }
  }

  FMA_DEVICE int Tokens() const { return attention.spec.open_size; }
  FMA_DEVICE int Dim() const { return attention.spec.head_dim; }
  FMA_DEVICE int Heads() const { return attention.spec.QueriesPerKvHead(); }

  FMA_DEVICE void PlaceQueries(const Memory& memory, const DecodeRow& row, int kv_head,
                               QueryForm form) const {
    const QueryTurn turn = TurnOf(attention.spec, form, row.position);
    const float* queries =
        qkv + row.row * attention.spec.QkvColumns() + int64_t{kv_head} * Heads() * Dim();
    for (int i = ThreadIndex(); i < Heads() * Dim(); i += kThreads) {
      const float* query = queries + int64_t{i / Dim()} * Dim();
      memory.query.Set(i, QueryChannel(attention, query, turn, i % Dim()));
    }
  }

  /// Of a token's key, or of its value.
  FMA_DEVICE float ScaleOf(const Memory& memory, bool of_key, int token) const {
    if constexpr (kHasScales<T>) return memory.scale.Get(of_key ? token : Tokens() + token);
    return 1.0F;
  }

  /// `turns`: by their positions, which begin with `first`.
  FMA_DEVICE void LoadKeys(const Memory& memory, const Source& source, bool turns,
                           int64_t first) const {
    using Piece = Vec<T, kVec>;
    const int pieces = Tokens() / kVec;  // of a channel
    const int half = Dim() / 2;
    const int channels = turns ? half : Dim();
    for (int i = ThreadIndex(); i < channels * pieces; i += kThreads) {
      const int channel = i / pieces;
      const int token = i % pieces * kVec;
      const int at = channel * Tokens() + token;
      const Piece low = source.Numbers(at);
      if (!turns) {
        for (int v = 0; v < kVec; ++v) {
          memory.token.Set(at + v, ToFloat(low.lane[v]) * ScaleOf(memory, true, token + v));
        }
        continue;
      }
      const int other = at + half * Tokens();
      const Piece high = source.Numbers(other);
      const double frequency = LoadConstant(attention.frequencies + channel);
      for (int v = 0; v < kVec; ++v) {
        const Rotation by = RotationAt(static_cast<double>(first + token + v), frequency);
        const float scale = ScaleOf(memory, true, token + v);
        const ChannelPair pair =
            Rotate(by, {ToFloat(low.lane[v]) * scale, ToFloat(high.lane[v]) * scale});
        memory.token.Set(at + v, pair.low);
        memory.token.Set(other + v, pair.high);
      }
    }
  }

  /// The first `sinks` tokens are not met.
  FMA_DEVICE void Score(const Memory& memory, const OpenNotes& notes, int place,
                        int64_t sinks) const {
    for (int i = ThreadIndex(); i < Heads() * Tokens(); i += kThreads) {
      const int head = i / Tokens();
      const int token = i % Tokens();
      float score = 0;
      for (int c = 0; c < Dim(); ++c) {
        score = std::fma(memory.query.Get(head * Dim() + c), memory.token.Get(c * Tokens() + token),
                         score);
      }
      if (token < sinks) score = -INFINITY;
      memory.weight.Set(i, score);
      Store(notes.TokenScore(place, head, token), score);
    }
  }

  FMA_DEVICE void LoadValues(const Memory& memory, const Source& source) const {
    const int64_t values = int64_t{Tokens()} * Dim();
    for (int i = ThreadIndex() * kVec; i < Tokens() * Dim(); i += kThreads * kVec) {
      const Vec<T, kVec> piece = source.Numbers(values + i);
      for (int v = 0; v < kVec; ++v) {
        memory.token.Set(i + v, ToFloat(piece.lane[v]) * ScaleOf(memory, false, (i + v) / Dim()));
      }
    }
  }

  /// Turns scores into weights; a warp takes a head.
  FMA_DEVICE void Weigh(const Memory& memory, const OpenNotes& notes, int place) const {
    for (int head = WarpIndex(); head < Heads(); head += kWarps) {
      float largest = -INFINITY;
      for (int i = LaneIndex(); i < Tokens(); i += kWarpSize) {
        const float score = memory.weight.Get(head * Tokens() + i);
        largest = score > largest ? score : largest;
      }
      largest = WarpMax(largest);
      float total = 0;
      for (int i = LaneIndex(); i < Tokens(); i += kWarpSize) {
        const float weight = FastExp(memory.weight.Get(head * Tokens() + i) - largest);
        memory.weight.Set(head * Tokens() + i, weight);
        total += weight;
      }
      total = WarpSum(total);
      if (LaneIndex() != 0) continue;
      Store(notes.Largest(place, head), largest);
      Store(notes.Total(place, head), total);
    }
  }

  FMA_DEVICE void AddValues(const Memory& memory, const OpenNotes& notes, int place) const {
    for (int i = ThreadIndex(); i < Heads() * Dim(); i += kThreads) {
      const int head = i / Dim();
      const int channel = i % Dim();
      float sum = 0;
      for (int token = 0; token < Tokens(); ++token) {
        sum = std::fma(memory.weight.Get(head * Tokens() + token),
                       memory.token.Get(token * Dim() + channel), sum);
      }
      Store(notes.Output(place, head, channel), sum);
    }
  }
};

}  // namespace fmaserver::kernels::cuda
