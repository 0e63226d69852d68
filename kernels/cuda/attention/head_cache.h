// One KV head's part of a slot, as a block of threads works on it: writing a token, growing the
// running sums, closing groups. The counterpart of kernels/cpu/head_cache-inl.h. Groups of selected
// tokens have no sums and are not closed: group_choice.h.
//
// All threads of a block call every function. Between two calls that touch the same memory, the
// caller needs a block barrier.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/cache_vectors.h"
#include "kernels/cuda/attention/rotation.h"
#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/element.h"

namespace fmaserver::kernels::cuda {

using Float4 = Vec<float, 4>;

/// A token's vectors in shared memory, padded with zeros to D.
struct TokenVectors {
  Shared<float> key;         ///< as the product gave it
  Shared<float> placed_key;  ///< rotated by its position, or the same array as `key`
  Shared<float> value;
};

/// T: the slot's element type.
template <typename T>
class HeadCache {
 public:
  FMA_DEVICE HeadCache(const DeviceAttention& attention, const SlotLayout& layout, std::byte* head)
      : attention_(attention), layout_(layout), head_(head) {}

  FMA_DEVICE const T* KeyAt(int64_t column, int64_t channel) const {
    return Keys() + column * layout_.head_dim + channel;
  }
  FMA_DEVICE const T* ValueAt(int64_t column, int64_t channel) const {
    return Values() + column * layout_.padded_dim + channel;
  }

  /// Of the key, or the value, in a column; 1 where elements have none.
  FMA_DEVICE float KeyScale(int64_t column) const { return LoadScale<T>(ScaleAt(true, column)); }
  FMA_DEVICE float ValueScale(int64_t column) const { return LoadScale<T>(ScaleAt(false, column)); }

  /// Writes the token at `position` to the ring, and to the sinks if it is one. A warp takes a
  /// vector.
  FMA_DEVICE void WriteToken(int64_t position, const TokenVectors& token) const {
    const int vectors = position < layout_.hierarchy.sink_tokens ? 4 : 2;
    FMA_NO_UNROLL
    for (int i = WarpIndex(); i < vectors; i += ThreadCount() / kWarpSize) {
      const bool near = i < 2;
      const bool placed = near || attention_.spec.FarIsRotated();
      const Shared<float> from = i % 2 != 0 ? token.value : placed ? token.placed_key : token.key;
      const auto channel = [&](int c) { return from.Get(c); };
      StoreVectorAt(i % 2 == 0, near ? layout_.NearColumn(position) : position, channel);
    }
  }

  /// Adds the token at `position` to the running sums of every level that tokens feed.
  FMA_DEVICE void AddToken(int64_t position, const TokenVectors& token) const {
    const Hierarchy& h = layout_.hierarchy;
    const bool hierarchical = attention_.spec.downsampling == Downsampling::kHierarchical;
    const int levels = hierarchical ? 1 : h.num_levels;
    const int fours = static_cast<int>(layout_.padded_dim / 4);
    const int per_level = h.rank * fours;
    FMA_NO_UNROLL
    for (int i = ThreadIndex(); i < 2 * levels * per_level; i += ThreadCount()) {
      const bool of_keys = i < levels * per_level;
      const int in_kind = of_keys ? i : i - levels * per_level;
      const int level = 1 + in_kind / per_level;
      const int r = in_kind % per_level / fours;
      AddFour(of_keys, level, position % h.GroupTokens(level), r, in_kind % fours * 4,
              of_keys ? token.key : token.value);
    }
  }

  /// Turns the sums of every group that ends just before `position` into summaries, level 1 first.
  FMA_DEVICE void CloseGroups(int64_t position) const {
    if (!layout_.hierarchy.CompletesGroup(1, position)) return;
    if (attention_.spec.downsampling == Downsampling::kHierarchical) {
      MergeGroups(position);
      SyncThreads();
    }
    const Hierarchy& h = layout_.hierarchy;
    int levels = 1;
    while (levels < h.num_levels && h.CompletesGroup(levels + 1, position)) ++levels;
    FMA_NO_UNROLL
    for (int i = WarpIndex(); i < 2 * levels * h.rank; i += ThreadCount() / kWarpSize) {
      StoreSummary(i % 2 == 0, 1 + i / 2 / h.rank, i / 2 % h.rank, position);
    }
  }

  /// Of selected tokens: what the token in a column has received, and the position and the novelty
  /// of the one in a column of the far field.
  FMA_DEVICE double* Received(int64_t column) const {
    return reinterpret_cast<double*>(head_ + layout_.received_offset) + column;
  }
  FMA_DEVICE int64_t* Position(int64_t column) const {
    return reinterpret_cast<int64_t*>(head_ + layout_.positions_offset) + column;
  }
  FMA_DEVICE float* Novelty(int64_t column) const {
    return reinterpret_cast<float*>(head_ + layout_.novelty_offset) + column;
  }

  /// A warp writes a key [d] or a value [D] of channel(0), channel(1) and so on.
  template <typename Channel>
  FMA_DEVICE void StoreVectorAt(bool is_key, int64_t column, const Channel& channel) const {
    StoreVector<T>(channel, Channels(is_key), VectorAt(is_key, column), ScaleAt(is_key, column));
  }
  /// A warp copies one, whose scale is `scale` where it has one.
  FMA_DEVICE void CopyVectorTo(bool is_key, int64_t column, const T* from,
                               const BFloat16* scale) const {
    CopyVector<T>(from, Channels(is_key), VectorAt(is_key, column));
    if constexpr (kHasScales<T>) {
      if (LaneIndex() == 0) Store(ScaleAt(is_key, column), Load(scale));
    }
  }
  FMA_DEVICE T* VectorAt(bool is_key, int64_t column) const {
    return is_key ? Keys() + column * layout_.head_dim : Values() + column * layout_.padded_dim;
  }
  FMA_DEVICE BFloat16* ScaleAt(bool is_key, int64_t column) const {
    return reinterpret_cast<BFloat16*>(head_ + layout_.scales_offset) +
           (is_key ? column : layout_.columns + column);
  }

  /// The running sum of summary `r` of the open group of `level`.
  FMA_DEVICE float* Sum(bool of_keys, int level, int r, int64_t channel) const {
    auto* sums = reinterpret_cast<float*>(head_ + layout_.sums_offset);
    return sums + (of_keys ? 0 : layout_.SumsPerKind()) + layout_.SumIndex(level) +
           r * layout_.padded_dim + channel;
  }

 private:
  FMA_DEVICE int Channels(bool of_key) const {
    return static_cast<int>(of_key ? layout_.head_dim : layout_.padded_dim);
  }
  FMA_DEVICE T* Keys() const { return reinterpret_cast<T*>(head_); }
  FMA_DEVICE T* Values() const { return reinterpret_cast<T*>(head_ + layout_.values_offset); }
  FMA_DEVICE const float* Weights(bool of_keys) const {
    return attention_.downsampling + (of_keys ? 0 : attention_.downsampling_layout.floats);
  }

  /// AddToken for four channels: adds input number `input` of an open group. The first input starts
  /// the sums, so what was there before does not matter.
  FMA_DEVICE void AddFour(bool of_keys, int level, int64_t input, int r, int channel,
                          Shared<float> x) const {
    auto* sums = reinterpret_cast<Float4*>(Sum(of_keys, level, r, channel));
    const auto token = x.GetAs<Float4>(channel);
    if (attention_.spec.downsampling == Downsampling::kAverage) {
      const bool mine = input / layout_.hierarchy.TokensPerSummary(level) == r;
      if (input > 0 && !mine) return;
      Float4 sum = input > 0 ? Load(sums) : Float4{};
      for (int i = 0; i < 4 && mine; ++i) sum.lane[i] += token.lane[i];
      Store(sums, sum);
      return;
    }
    const DownsamplingLayout& at = attention_.downsampling_layout;
    const int index = DownsamplingIndex(attention_.spec, level);
    const float* weights = Weights(of_keys);
    const int64_t start = r * layout_.padded_dim + channel;
    Float4 sum = input > 0 ? Load(sums) : LoadFour(weights + at.Bias(index) + start);
    const float* taps = weights + at.Taps(index, input);
    if (at.mixed == 1) {
      const Float4 tap = LoadFour(taps + start);
      for (int i = 0; i < 4; ++i) sum.lane[i] = std::fma(tap.lane[i], token.lane[i], sum.lane[i]);
    } else {
      taps += r * at.mixed * layout_.padded_dim + channel;
      for (int from = 0; from < at.mixed; ++from) {
        const Float4 tap = LoadFour(taps + from * layout_.padded_dim);
        for (int i = 0; i < 4; ++i) sum.lane[i] = std::fma(tap.lane[i], x.Get(from), sum.lane[i]);
      }
    }
    Store(sums, sum);
  }

  FMA_DEVICE static Float4 LoadFour(const float* from) {
    return LoadConstant(reinterpret_cast<const Float4*>(from));
  }

  /// Hands the sums of every group that ends just before `position` on to the level above.
  /// Channels never mix, so each thread takes its own through all levels.
  FMA_DEVICE void MergeGroups(int64_t position) const {
    const Hierarchy& h = layout_.hierarchy;
    const int dim = static_cast<int>(layout_.padded_dim);
    FMA_NO_UNROLL
    for (int i = ThreadIndex(); i < 2 * dim; i += ThreadCount()) {
      FMA_NO_UNROLL
      for (int level = 1; level < h.num_levels && h.CompletesGroup(level, position); ++level) {
        const int64_t group = position / h.GroupTokens(level) - 1;
        Merge(i < dim, level + 1, group & 1, i % dim);
      }
    }
  }

  FMA_DEVICE float Summary(bool of_keys, int level, int r, int channel) const {
    const float sum = Load(Sum(of_keys, level, r, channel));
    if (attention_.spec.downsampling != Downsampling::kAverage) return sum;
    return sum * (1.0F / static_cast<float>(layout_.hierarchy.TokensPerSummary(level)));
  }

  /// A warp stores summary `r` of the group of `level` that ends just before `position`.
  FMA_DEVICE void StoreSummary(bool of_keys, int level, int r, int64_t position) const {
    const Hierarchy& h = layout_.hierarchy;
    const int64_t group = position / h.GroupTokens(level) - 1;
    const bool turns = of_keys && attention_.spec.FarIsRotated(level);
    const int half = layout_.head_dim / 2;
    const auto channel = [&](int c) {
      if (!turns) return Summary(of_keys, level, r, c);
      const int low = c < half ? c : c - half;
      const Rotation rotation =
          RotationAt(h.SummaryCentre(level, group, r), LoadConstant(attention_.frequencies + low));
      const ChannelPair placed = Rotate(
          rotation, {Summary(of_keys, level, r, low), Summary(of_keys, level, r, low + half)});
      return c < half ? placed.low : placed.high;
    };
    StoreVectorAt(of_keys, layout_.FarColumn(level, group) + r, channel);
  }

  /// Adds the p summaries that level - 1 just closed, child 0 or 1, to the sums of `level`.
  FMA_DEVICE void Merge(bool of_keys, int level, int64_t child, int channel) const {
    const int rank = layout_.hierarchy.rank;
    const DownsamplingLayout& at = attention_.downsampling_layout;
    const int index = DownsamplingIndex(attention_.spec, level);
    const float* weights = Weights(of_keys) + channel;
    FMA_NO_UNROLL
    for (int r = 0; r < rank; ++r) {
      float* sums = Sum(of_keys, level, r, channel);
      float sum =
          child == 0 ? LoadConstant(weights + at.Bias(index) + r * layout_.padded_dim) : Load(sums);
      FMA_NO_UNROLL
      for (int i = 0; i < rank; ++i) {
        const float tap =
            LoadConstant(weights + at.Taps(index, child * rank + i) + r * layout_.padded_dim);
        sum = std::fma(tap, Load(Sum(of_keys, level - 1, i, channel)), sum);
      }
      Store(sums, sum);
    }
  }

  const DeviceAttention& attention_;
  const SlotLayout& layout_;
  std::byte* const head_;  // keys [C, d], values [C, D], scales, sums; see slot_bytes.h
};

}  // namespace fmaserver::kernels::cuda
