// Opened units: writes the group that leaves the near field into the archive, unit by unit: its
// tokens into the host's memory, its sketches into the device's. The counterpart of
// kernels/cpu/archive-inl.h and sketch-inl.h.
//
// Keys are read and turned back again in every pass, which costs little, because each token is
// archived once.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention/archive_head.h"
#include "kernels/cuda/attention/head_cache.h"
#include "kernels/cuda/attention/open_notes.h"
#include "kernels/cuda/attention/rotation.h"
#include "kernels/cuda/attention/selected_rows.h"
#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/element.h"

namespace fmaserver::kernels::cuda {

/// Blocks: (block of rows, KV head), and y: the unit of the group. Only blocks whose last row ends
/// a fine group have something to do. T: the slot's element type, A: the archive's, which has no
/// more bytes.
template <typename T, typename A>
struct ArchiveUnitsKernel : OpenParameters {
  static constexpr int kThreads = 128;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr const char* kName = "archive_units";

  static constexpr int64_t SharedMemory(const AttentionSpec& spec) {
    return 2 * SharedBytes<float>(spec.head_dim) + SharedBytes<float>(Scales(spec)) +
           SharedBytes<float>(StoredScales(spec));
  }

  FMA_DEVICE void operator()() const {
    const AttentionSpec& spec = attention.spec;
    const auto kv_head = static_cast<int>(BlockIndex() % spec.num_kv_heads);
    const Rows block = RowsOf(BlockIndex() / spec.num_kv_heads);
    const DecodeRow last = LoadRow(rows + block.first + block.count - 1);
    const int64_t group = layout.hierarchy.FineGroup(last.position + 1) - 2;
    const bool ends = layout.hierarchy.CompletesGroup(1, last.position + 1);
    if (last.slot == nullptr || last.archive < 0 || !ends || group < 0) return;
    std::byte* const slot_head = HeadOf(layout, last, scratch, layer, kv_head);
    const ArchiveHead head(spec, layout, archive + last.archive, slot_head, layer, kv_head);
    const auto i = static_cast<int>(BlockIndexY());
    const int64_t position = group * layout.hierarchy.group_size + int64_t{i} * spec.open_size;
    const Memory memory(spec);
    const HeadCache<T> cache(attention, layout, slot_head);
    const Keys placed = {*this, cache, memory.scale, position, false};
    const Keys plain = {*this, cache, memory.scale, position,
                        spec.positions == PositionEmbedding::kRope};
    if (plain.turns) plain.FindScales();
    const bool is_placed = spec.FarIsRotated();
    if (is_placed) {
      const bool moves = spec.GroupsInPlace() > 0;
      Sketch(memory, placed, head.Sketch(),
             moves ? head.PlacedSketch(group, i) : head.KeptSketch(group, i));
    }
    if (!is_placed || spec.max_distance > 0) {
      Sketch(memory, plain, head.Sketch(), head.KeptSketch(group, i));
    }
    StoreTokens(memory, plain, reinterpret_cast<A*>(head.Tokens(group, i)));
  }

 private:
  static constexpr float kBorder = 0.98F;  // between the levels, in deviations
  static constexpr float kInner = 0.453F;
  static constexpr float kOuter = 1.51F;

  using Number = SketchNumber<T>;

  static constexpr int Scales(const AttentionSpec& spec) {
    return kHasScales<T> ? spec.open_size : 0;
  }
  static constexpr int StoredScales(const AttentionSpec& spec) {
    return kHasScales<A> && !kHasScales<T> ? 2 * spec.open_size : 0;
  }

  struct Memory {
    FMA_DEVICE explicit Memory(const AttentionSpec& spec)
        : Memory(SharedArena(), spec.head_dim, Scales(spec), StoredScales(spec)) {}

    Shared<float> mean;       // [d]
    Shared<float> deviation;  // [d]
    Shared<float> scale;      // [Scales()], of the keys that are turned back
    Shared<float> stored;     // [StoredScales()], of what is rounded for the archive: keys, values

   private:
    FMA_DEVICE Memory(SharedArena arena, int dim, int scales, int stored_scales)
        : mean(arena.Take<float>(dim)),
          deviation(arena.Take<float>(dim)),
          scale(arena.Take<float>(scales)),
          stored(arena.Take<float>(stored_scales)) {}
  };

  /// The keys of a unit's tokens, the first of which is at `position`; `turns`: turned back by
  /// their positions and rounded, as an archive keeps them.
  struct Keys {
    const ArchiveUnitsKernel& kernel;
    const HeadCache<T>& cache;
    Shared<float> scale;  // [u]; of turned keys, once FindScales() has found them
    int64_t position;
    bool turns;

    FMA_DEVICE int64_t Column(int token) const {
      return kernel.layout.NearColumn(position + token);
    }
    FMA_DEVICE float Turned(int token, int channel) const {
      const int half = kernel.layout.head_dim / 2;
      const int low = channel < half ? channel : channel - half;
      const float of_slot = cache.KeyScale(Column(token));
      const ChannelPair pair = {ToFloat(Load(cache.KeyAt(Column(token), low))) * of_slot,
                                ToFloat(Load(cache.KeyAt(Column(token), low + half))) * of_slot};
      const ChannelPair back = Rotate(RotationAt(-static_cast<double>(position + token),
                                                 LoadConstant(kernel.attention.frequencies + low)),
                                      pair);
      return channel < half ? back.low : back.high;
    }
    /// All threads call it; it ends with a barrier.
    FMA_DEVICE void FindScales() const {
      if constexpr (kHasScales<T>) {
        kernel.FindScales([&](int token, int c) { return Turned(token, c); }, 0, scale);
        SyncThreads();
      }
    }
    FMA_DEVICE float Scale(int token) const {
      if constexpr (kHasScales<T>) {
        return turns ? scale.Get(token) : cache.KeyScale(Column(token));
      } else {
        return 1.0F;
      }
    }
    FMA_DEVICE T Element(int token, int channel) const {
      if (!turns) return Load(cache.KeyAt(Column(token), channel));
      if constexpr (kHasScales<T>) {
        return Rounding(FromFloat<BFloat16>(scale.Get(token)))(Turned(token, channel));
      } else {
        return FromFloat<T>(Turned(token, channel));
      }
    }
    FMA_DEVICE float At(int token, int channel) const {
      return ToFloat(Element(token, channel)) * Scale(token);
    }
  };

  FMA_DEVICE int Tokens() const { return attention.spec.open_size; }

  FMA_DEVICE void Sketch(const Memory& memory, const Keys& keys, const SketchLayout& at,
                         std::byte* sketch) const {
    Describe(memory, keys, at, sketch);
    SyncThreads();
    Encode(memory, keys, at, sketch);
    FindFactors(memory, keys, reinterpret_cast<Number*>(sketch + at.factors_offset));
    SyncThreads();
  }

  /// Mean and deviation of every channel. What is rounded here is what readers see, so all that
  /// follows is made for it.
  FMA_DEVICE void Describe(const Memory& memory, const Keys& keys, const SketchLayout& at,
                           std::byte* sketch) const {
    const auto tokens = static_cast<double>(Tokens());
    for (int c = ThreadIndex(); c < layout.head_dim; c += kThreads) {
      double sum = 0;
      for (int i = 0; i < Tokens(); ++i) sum += keys.At(i, c);
      const auto mean = FromFloat<Number>(static_cast<float>(sum / tokens));
      double squares = 0;
      for (int i = 0; i < Tokens(); ++i) {
        const auto z = static_cast<double>(keys.At(i, c) - ToFloat(mean));
        squares += z * z;
      }
      const auto deviation = FromFloat<Number>(static_cast<float>(std::sqrt(squares / tokens)));
      Store(reinterpret_cast<Number*>(sketch) + c, mean);
      Store(reinterpret_cast<Number*>(sketch + at.deviation_offset) + c, deviation);
      memory.mean.Set(c, ToFloat(mean));
      memory.deviation.Set(c, ToFloat(deviation));
    }
  }

  /// The two bits of a channel of a token: bit 0 below the mean, bit 1 from kBorder deviations on.
  FMA_DEVICE uint32_t Code(const Memory& memory, float z, int channel) const {
    const bool inner = std::abs(z) < kBorder * memory.deviation.Get(channel);
    return (z < 0 ? 1U : 0U) | (inner ? 0U : 2U);
  }

  /// The codes, two bytes at a time; what is past the last code is 0.
  FMA_DEVICE void Encode(const Memory& memory, const Keys& keys, const SketchLayout& at,
                         std::byte* sketch) const {
    auto* to = reinterpret_cast<uint16_t*>(sketch + at.codes_offset);
    const auto pieces = static_cast<int>(at.bytes - at.codes_offset) / 2;
    for (int i = ThreadIndex(); i < pieces; i += kThreads) {
      uint32_t both = 0;
      for (int byte = 0; byte < 2; ++byte) {
        both |= Codes(memory, keys, 2 * i + byte) << (8 * byte);
      }
      Store(to + i, static_cast<uint16_t>(both));
    }
  }

  /// Byte `index` of the codes: four channels of a token.
  FMA_DEVICE uint32_t Codes(const Memory& memory, const Keys& keys, int index) const {
    const int first = index / Tokens() * 4;
    uint32_t codes = 0;
    for (int i = 0; i < 4 && first + i < layout.head_dim; ++i) {
      const float z = keys.At(index % Tokens(), first + i) - memory.mean.Get(first + i);
      codes |= Code(memory, z, first + i) << (2 * i);
    }
    return codes;
  }

  /// A warp takes a token.
  FMA_DEVICE void FindFactors(const Memory& memory, const Keys& keys, Number* factors) const {
    for (int token = WarpIndex(); token < Tokens(); token += kWarps) {
      double squares = 0;
      double products = 0;
      for (int c = LaneIndex(); c < layout.head_dim; c += kWarpSize) {
        const float z = keys.At(token, c) - memory.mean.Get(c);
        const uint32_t code = Code(memory, z, c);
        const float level = (code & 1) != 0 ? -1.0F : 1.0F;
        const float size = (code & 2) != 0 ? kOuter : kInner;
        squares += static_cast<double>(z) * z;
        products += static_cast<double>(z) * (level * size * memory.deviation.Get(c));
      }
      squares = WarpSum(squares);
      products = WarpSum(products);
      const bool none = products == 0;
      if (LaneIndex() == 0) {
        Store(factors + token,
              FromFloat<Number>(none ? 0.0F : static_cast<float>(squares / products)));
      }
    }
  }

  /// Those of vectors whose numbers are of(token, channel), to `to` from `first` on. A warp takes a
  /// token.
  template <typename Of>
  FMA_DEVICE void FindScales(const Of& of, int first, const Shared<float>& to) const {
    for (int token = WarpIndex(); token < Tokens(); token += kWarps) {
      int32_t largest = 0;
      for (int c = LaneIndex(); c < layout.head_dim; c += kWarpSize) {
        const int32_t magnitude = Rounding::Magnitude(of(token, c));
        largest = magnitude > largest ? magnitude : largest;
      }
      const Rounding round(WarpMax(largest));
      if (LaneIndex() == 0) to.Set(first + token, ToFloat(round.scale()));
    }
  }

  /// Keys [d, u], then values [u, d], then the scales of both where elements have some.
  FMA_DEVICE void StoreTokens(const Memory& memory, const Keys& keys, A* to) const {
    const int dim = layout.head_dim;
    const int numbers = Tokens() * dim;
    const auto value = [&](int token, int c) {
      return Load(keys.cache.ValueAt(keys.Column(token), c));
    };
    if constexpr (std::is_same_v<T, A>) {
      StoreElements(numbers, to, [&](int i) { return keys.Element(i % Tokens(), i / Tokens()); });
      StoreElements(numbers, to + numbers, [&](int i) { return value(i / dim, i % dim); });
      StoreScales(to + 2 * numbers, [&](int i) {
        return i < Tokens() ? FromFloat<BFloat16>(keys.Scale(i))
                            : Load(keys.cache.ScaleAt(false, keys.Column(i - Tokens())));
      });
    } else {
      if constexpr (kHasScales<A>) {
        FindScales([&](int token, int c) { return keys.At(token, c); }, 0, memory.stored);
        FindScales([&](int token, int c) { return ToFloat(value(token, c)); }, Tokens(),
                   memory.stored);
        SyncThreads();
      }
      StoreElements(numbers, to, [&](int i) {
        return Rounded(memory, i % Tokens(), keys.At(i % Tokens(), i / Tokens()));
      });
      StoreElements(numbers, to + numbers, [&](int i) {
        return Rounded(memory, Tokens() + i / dim, ToFloat(value(i / dim, i % dim)));
      });
      StoreScales(to + 2 * numbers,
                  [&](int i) { return FromFloat<BFloat16>(memory.stored.Get(i)); });
    }
  }

  /// Of the vector with this place among the stored scales.
  FMA_DEVICE static A Rounded(const Memory& memory, int vector, float number) {
    if constexpr (kHasScales<A>) {
      return Rounding(FromFloat<BFloat16>(memory.stored.Get(vector)))(number);
    } else {
      return FromFloat<A>(number);
    }
  }

  /// element(0) .. element(count - 1); integers two at a time.
  template <typename Of>
  FMA_DEVICE void StoreElements(int count, A* to, const Of& element) const {
    if constexpr (kHasScales<A>) {
      for (int i = 2 * ThreadIndex(); i < count; i += 2 * kThreads) {
        const int pair = (element(i) & 0xFF) | (element(i + 1) & 0xFF) << 8;
        Store(reinterpret_cast<uint16_t*>(to + i), static_cast<uint16_t>(pair));
      }
    } else {
      for (int i = ThreadIndex(); i < count; i += kThreads) Store(to + i, element(i));
    }
  }

  /// Of the keys, then of the values, where elements have some.
  template <typename Of>
  FMA_DEVICE void StoreScales(A* to, const Of& scale) const {
    if constexpr (kHasScales<A>) {
      auto* scales = reinterpret_cast<BFloat16*>(to);
      for (int i = ThreadIndex(); i < 2 * Tokens(); i += kThreads) Store(scales + i, scale(i));
    }
  }
};

}  // namespace fmaserver::kernels::cuda
