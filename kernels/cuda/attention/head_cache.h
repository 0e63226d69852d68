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

  /// Writes the token at `position` to the ring, and to the sinks if it is one.
  FMA_DEVICE void WriteToken(int64_t position, const TokenVectors& token) const {
    const int64_t near = layout_.NearColumn(position);
    const bool is_sink = position < layout_.hierarchy.sink_tokens;
    const Shared<float> sink_key = attention_.spec.FarIsRotated() ? token.placed_key : token.key;
    FMA_NO_UNROLL
    for (int c = ThreadIndex(); c < layout_.padded_dim; c += ThreadCount()) {
      if (c < layout_.head_dim) StoreKey(near, c, token.placed_key.Get(c));
      StoreValue(near, c, token.value.Get(c));
      if (!is_sink) continue;
      if (c < layout_.head_dim) StoreKey(position, c, sink_key.Get(c));
      StoreValue(position, c, token.value.Get(c));
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
  /// Channels never mix, so each thread takes its own channels through all levels.
  FMA_DEVICE void CloseGroups(int64_t position) const {
    if (!layout_.hierarchy.CompletesGroup(1, position)) return;
    const int dim = static_cast<int>(layout_.padded_dim);
    const bool rotated = attention_.spec.FarIsRotated();
    const int key_channels = rotated ? layout_.head_dim / 2 : layout_.head_dim;
    FMA_NO_UNROLL
    for (int i = ThreadIndex(); i < 2 * dim; i += ThreadCount()) {
      const bool of_keys = i < dim;
      const int channel = of_keys ? i : i - dim;
      if (of_keys && channel >= key_channels) continue;
      CloseChannel(of_keys, position, channel, of_keys && rotated ? channel + key_channels : -1);
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

  FMA_DEVICE void StoreKey(int64_t column, int64_t channel, float key) const {
    StoreKeyElement(column, channel, FromFloat<T>(key));
  }
  FMA_DEVICE void StoreValue(int64_t column, int64_t channel, float value) const {
    StoreValueElement(column, channel, FromFloat<T>(value));
  }
  FMA_DEVICE void StoreKeyElement(int64_t column, int64_t channel, T key) const {
    Store(Keys() + column * layout_.head_dim + channel, key);
  }
  FMA_DEVICE void StoreValueElement(int64_t column, int64_t channel, T value) const {
    Store(Values() + column * layout_.padded_dim + channel, value);
  }

  /// The running sum of summary `r` of the open group of `level`.
  FMA_DEVICE float* Sum(bool of_keys, int level, int r, int64_t channel) const {
    auto* sums = reinterpret_cast<float*>(head_ + layout_.sums_offset);
    return sums + (of_keys ? 0 : layout_.SumsPerKind()) + layout_.SumIndex(level) +
           r * layout_.padded_dim + channel;
  }

 private:
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

  /// `partner` is the channel that rotates together with this one, -1 for none.
  FMA_DEVICE void CloseChannel(bool of_keys, int64_t position, int channel, int partner) const {
    const Hierarchy& h = layout_.hierarchy;
    FMA_NO_UNROLL
    for (int level = 1; level <= h.num_levels && h.CompletesGroup(level, position); ++level) {
      const int64_t group = position / h.GroupTokens(level) - 1;
      StoreSummaries(of_keys, level, group, channel, partner);
      const bool merges =
          attention_.spec.downsampling == Downsampling::kHierarchical && level < h.num_levels;
      if (!merges) continue;
      FMA_NO_UNROLL
      for (int c = channel; c >= 0; c = c == channel ? partner : -1) {
        Merge(of_keys, level + 1, group & 1, c);
      }
    }
  }

  FMA_DEVICE float Summary(bool of_keys, int level, int r, int channel) const {
    const float sum = Load(Sum(of_keys, level, r, channel));
    if (attention_.spec.downsampling != Downsampling::kAverage) return sum;
    return sum * (1.0F / static_cast<float>(layout_.hierarchy.TokensPerSummary(level)));
  }

  FMA_DEVICE void StoreSummaries(bool of_keys, int level, int64_t group, int channel,
                                 int partner) const {
    const Hierarchy& h = layout_.hierarchy;
    const int64_t column = layout_.FarColumn(level, group);
    FMA_NO_UNROLL
    for (int r = 0; r < h.rank; ++r) {
      const float own = Summary(of_keys, level, r, channel);
      if (!of_keys) {
        StoreValue(column + r, channel, own);
      } else if (partner < 0) {
        StoreKey(column + r, channel, own);
      } else {
        const float other = Summary(of_keys, level, r, partner);
        const Rotation rotation = RotationAt(h.SummaryCentre(level, group, r),
                                             LoadConstant(attention_.frequencies + channel));
        const bool turns = attention_.spec.FarIsRotated(level);
        const ChannelPair placed = turns ? Rotate(rotation, {own, other}) : ChannelPair{own, other};
        StoreKey(column + r, channel, placed.low);
        StoreKey(column + r, partner, placed.high);
      }
    }
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
  std::byte* const head_;  // keys [C, d], values [C, D], sums [2, L, p, D]; see slot_bytes.h
};

}  // namespace fmaserver::kernels::cuda
