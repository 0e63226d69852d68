// Prefill, before attention: computes everything that the slice adds to the cache, into the
// scratch.
//
// PlaceTokens writes the slice's keys and values as the slot would hold them. SumTokens computes
// the sum of every group that is summed from tokens: one block for each group and head, a thread
// for each channel. MergeSummaries computes the higher levels (hierarchical), level by level;
// channels never mix, so a block takes a few of them. PlaceSummaries writes the completed summaries
// as the slot would hold them.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/prefill_head.h"
#include "kernels/cuda/attention/token_channels.h"

namespace fmaserver::kernels::cuda {

/// Blocks: (query block, KV head).
template <typename T>
struct PlaceTokensKernel : PrefillParameters {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "place_tokens";

  static constexpr int64_t SharedMemory(const SlotLayout& layout) {
    return TokenOfWarp::SharedMemory(layout, kThreads);
  }

  FMA_DEVICE void operator()() const {
    const auto [item, kv_head] = ThisBlock(attention.spec);
    const QueryBlock block = LoadBlock(plan.blocks + item);
    const PrefillHead<T> head(*this, block.segment, kv_head);
    const TokenOfWarp token(layout);
    for (int i = WarpIndex(); i < block.rows; i += kThreads / kWarpSize) {
      const int64_t row = block.first + i;
      const int64_t position = head.position() + row;
      token.Fill(attention, position, head.Token(true, row), head.Token(false, row));
      const auto store = [&](bool is_key, bool is_sink, const auto& channel) {
        head.Place(is_key, is_sink ? head.scratch.SinkEntry(position) : row, channel);
      };
      StoreToken(attention, position, layout.hierarchy.sink_tokens, token, store);
    }
  }
};

/// Blocks: (group task, KV head).
template <typename T>
struct SumTokensKernel : PrefillParameters {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 2;
  static constexpr const char* kName = "sum_tokens";

  FMA_DEVICE void operator()() const {
    const auto [item, kv_head] = ThisBlock(attention.spec);
    const GroupTask* from = plan.groups + item;
    const GroupTask task = {Load(&from->group), Load(&from->segment), Load(&from->level)};
    const PrefillHead<T> head(*this, task.segment, kv_head);
    const int dim = static_cast<int>(layout.padded_dim);
    for (int i = ThreadIndex(); i < 2 * dim; i += kThreads) {
      const bool of_keys = i < dim;
      const int channel = of_keys ? i : i - dim;
      for (int r = 0; r < layout.hierarchy.rank; r += kTogether) {
        SumChannel(head, task, of_keys, channel, r);
      }
    }
  }

 private:
  static constexpr int kTogether = 4;  ///< summaries that share the loads of a token
  static constexpr int kUnroll = 4;    ///< tokens whose loads are in flight together

  /// The tokens of a group that are in the slice.
  struct Range {
    int64_t start;  ///< of the group
    int64_t first;
    int64_t end;
  };

  /// Sums summaries [first_r, first_r + kTogether) of a channel.
  FMA_DEVICE void SumChannel(const PrefillHead<T>& head, const GroupTask& task, bool of_keys,
                             int channel, int first_r) const {
    const int left = layout.hierarchy.rank - first_r;
    const int count = left < kTogether ? left : kTogether;
    float sum[kTogether] = {};
    if (channel < layout.head_dim) {
      const int64_t tokens = layout.hierarchy.GroupTokens(task.level);
      const int64_t start = task.group * tokens;
      const Range range = {start, start > head.position() ? start : head.position(),
                           start + tokens < head.end() ? start + tokens : head.end()};
      if (attention.spec.downsampling == Downsampling::kAverage) {
        for (int r = 0; r < kTogether && r < count; ++r) {
          sum[r] = Average(head, task, range, of_keys, first_r + r, channel);
        }
      } else {
        Weigh(head, task, range, of_keys, channel, first_r, count, sum);
      }
    }
    FMA_UNROLL
    for (int r = 0; r < kTogether; ++r) {
      if (r < count)
        Store(head.Target(of_keys, task.level, task.group, first_r + r) + channel, sum[r]);
    }
  }

  FMA_DEVICE float Average(const PrefillHead<T>& head, const GroupTask& task, const Range& range,
                           bool of_keys, int r, int channel) const {
    const int64_t share = layout.hierarchy.TokensPerSummary(task.level);
    const bool goes_on = range.start < head.position();  // the slot has its first tokens
    float sum = goes_on ? Load(head.cache.Sum(of_keys, task.level, r, channel)) : 0.0F;
    const int64_t start = range.start + r * share;
    const int64_t from = start > range.first ? start : range.first;
    const int64_t to = start + share < range.end ? start + share : range.end;
    for (int64_t t = from; t < to; ++t) {
      sum += LoadConstant(head.Token(of_keys, t - head.position()) + channel);
    }
    const bool complete = range.end == range.start + layout.hierarchy.GroupTokens(task.level);
    return complete ? sum * (1.0F / static_cast<float>(share)) : sum;
  }

  FMA_DEVICE void Weigh(const PrefillHead<T>& head, const GroupTask& task, const Range& range,
                        bool of_keys, int channel, int first_r, int count,
                        float (&sum)[kTogether]) const {
    const DownsamplingLayout& at = attention.downsampling_layout;
    const int index = DownsamplingIndex(attention.spec, task.level);
    const int64_t dim = layout.padded_dim;
    const float* weights = attention.downsampling + (of_keys ? 0 : at.floats) + channel;
    const bool goes_on = range.start < head.position();
    FMA_UNROLL
    for (int r = 0; r < kTogether; ++r) {
      if (r >= count) continue;
      sum[r] = goes_on ? Load(head.cache.Sum(of_keys, task.level, first_r + r, channel))
                       : LoadConstant(weights + at.Bias(index) + (first_r + r) * dim);
    }
    const int64_t columns = attention.spec.QkvColumns();
    const float* token = head.Token(of_keys, range.first - head.position());
    const float* taps =
        weights + at.Taps(index, range.first - range.start) + first_r * at.mixed * dim;
    const auto tokens = static_cast<int>(range.end - range.first);
    if (at.mixed == 1) {
      WeighOwn(token + channel, columns, taps, at.vector, tokens, count, sum);
      return;
    }
    for (int t = 0; t < tokens; ++t, token += columns, taps += at.mixed * at.vector) {
      for (int r = 0; r < kTogether && r < count; ++r) {
        for (int64_t from = 0; from < at.mixed; ++from) {
          const float tap = LoadConstant(taps + (r * at.mixed + from) * dim);
          sum[r] = std::fma(tap, LoadConstant(token + from), sum[r]);
        }
      }
    }
  }

  /// Each channel of a summary is computed from the same channel of the tokens.
  FMA_DEVICE void WeighOwn(const float* token, int64_t columns, const float* taps, int64_t vector,
                           int tokens, int count, float (&sum)[kTogether]) const {
    const int64_t dim = layout.padded_dim;
    for (int t = 0; t < tokens; t += kUnroll) {
      float x[kUnroll] = {};
      float tap[kUnroll][kTogether] = {};
      FMA_UNROLL
      for (int i = 0; i < kUnroll; ++i) {
        if (t + i >= tokens) continue;
        x[i] = LoadConstant(token + (t + i) * columns);
        FMA_UNROLL
        for (int r = 0; r < kTogether; ++r) {
          if (r < count) tap[i][r] = LoadConstant(taps + (t + i) * vector + r * dim);
        }
      }
      FMA_UNROLL
      for (int i = 0; i < kUnroll; ++i) {
        if (t + i >= tokens) continue;
        FMA_UNROLL
        for (int r = 0; r < kTogether; ++r) sum[r] = std::fma(tap[i][r], x[i], sum[r]);
      }
    }
  }
};

/// Blocks: (segment, KV head); y: BlocksY(), channels of keys, then of values.
template <typename T>
struct MergeSummariesKernel : PrefillParameters {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "merge_summaries";
  static constexpr int kChannels = 16;
  static_assert(SlotLayout::kLane % kChannels == 0);

  static constexpr int64_t BlocksY(const SlotLayout& layout) {
    return 2 * (layout.padded_dim / kChannels);
  }

  FMA_DEVICE void operator()() const {
    const auto [item, kv_head] = ThisBlock(attention.spec);
    const PrefillHead<T> head(*this, item, kv_head);
    const auto first_channel = static_cast<int>(BlockIndexY() * kChannels % layout.padded_dim);
    const bool of_keys = BlockIndexY() * kChannels < layout.padded_dim;
    const int per_group = layout.hierarchy.rank * kChannels;
    for (int level = 2; level <= layout.hierarchy.num_levels; ++level) {
      // Only groups that got a child change.
      const int64_t first_child = head.scratch.FirstCompleted(level - 1);
      const int64_t end_child = head.scratch.EndCompleted(level - 1);
      if (first_child == end_child) return;
      const int64_t first = first_child / 2;
      const int64_t groups = (end_child - 1) / 2 + 1 - first;
      for (int64_t i = ThreadIndex(); i < groups * per_group; i += kThreads) {
        const auto in_group = static_cast<int>(i % per_group);
        Merge(head, of_keys, level, first + i / per_group, in_group / kChannels,
              first_channel + in_group % kChannels);
      }
      SyncThreads();
    }
  }

 private:
  FMA_DEVICE void Merge(const PrefillHead<T>& head, bool of_keys, int level, int64_t group, int r,
                        int channel) const {
    const DownsamplingLayout& at = attention.downsampling_layout;
    const int index = DownsamplingIndex(attention.spec, level);
    const int rank = layout.hierarchy.rank;
    const float* weights =
        attention.downsampling + (of_keys ? 0 : at.floats) + r * layout.padded_dim + channel;
    const bool goes_on = !head.scratch.Completed(level - 1, 2 * group);
    float sum = goes_on ? Load(head.cache.Sum(of_keys, level, r, channel))
                        : LoadConstant(weights + at.Bias(index));
    for (int child = 0; child < 2; ++child) {
      if (!head.scratch.Completed(level - 1, 2 * group + child)) continue;
      const float* from = head.Raw(of_keys, level - 1, 2 * group + child, 0) + channel;
      for (int i = 0; i < rank; ++i) {
        const float tap = LoadConstant(weights + at.Taps(index, child * rank + i));
        sum = std::fma(tap, Load(from + i * layout.padded_dim), sum);
      }
    }
    Store(head.Target(of_keys, level, group, r) + channel, sum);
  }
};

/// Blocks: (segment, KV head); y: BlocksY(), kParts of every level.
template <typename T>
struct PlaceSummariesKernel : PrefillParameters {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "place_summaries";
  static constexpr int kParts = 8;

  static constexpr int64_t BlocksY(const SlotLayout& layout) {
    return int64_t{kParts} * layout.hierarchy.num_levels;
  }

  FMA_DEVICE void operator()() const {
    const auto [item, kv_head] = ThisBlock(attention.spec);
    const PrefillHead<T> head(*this, item, kv_head);
    const int level = static_cast<int>(BlockIndexY() / kParts) + 1;
    const int64_t groups = head.scratch.EndCompleted(level) - head.scratch.FirstCompleted(level);
    const auto vectors = static_cast<int>(groups) * layout.hierarchy.rank * 2;
    const auto part = static_cast<int>(BlockIndexY() % kParts);
    constexpr int kWarps = kThreads / kWarpSize;
    for (int i = part * kWarps + WarpIndex(); i < vectors; i += kParts * kWarps) {
      Place(head, i % 2 == 0, level, i / 2);
    }
  }

 private:
  /// `summary` counts the summaries of the groups that the slice completed, which lie one after the
  /// other.
  FMA_DEVICE void Place(const PrefillHead<T>& head, bool is_key, int level, int summary) const {
    const int rank = layout.hierarchy.rank;
    const int64_t group = head.scratch.FirstCompleted(level) + summary / rank;
    const int r = summary % rank;
    const float* raw = head.Raw(is_key, level, group, r);
    const bool turns = is_key && attention.spec.FarIsRotated(level);
    const int half = layout.head_dim / 2;
    const auto channel = [&](int c) {
      if (!turns || c >= layout.head_dim) return Load(raw + c);
      const int low = c < half ? c : c - half;
      const Rotation rotation = RotationAt(layout.hierarchy.SummaryCentre(level, group, r),
                                           LoadConstant(attention.frequencies + low));
      const ChannelPair placed = Rotate(rotation, {Load(raw + low), Load(raw + half + low)});
      return c < half ? placed.low : placed.high;
    };
    head.Place(is_key, head.scratch.SummaryEntry(level, group, r), channel);
  }
};

}  // namespace fmaserver::kernels::cuda
