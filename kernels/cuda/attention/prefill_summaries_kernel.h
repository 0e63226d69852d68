// Prefill, before attention: everything that the slice adds to the cache, into the scratch.
//
// PlaceTokens writes the slice's keys and values as the slot would hold them. SumTokens gives every
// group that tokens feed its sum: one block for each group and head, a thread for each (summary,
// channel). MergeSummaries takes them up the levels (hierarchical), a block for each head, level by
// level. PlaceSummaries writes the completed ones as the slot would hold them.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/prefill_head.h"

namespace fmaserver::kernels::cuda {

/// Blocks: (query block, KV head).
template <typename T>
struct PlaceTokensKernel : PrefillParameters {
  static constexpr int kThreads = 128;
  static constexpr const char* kName = "place_tokens";

  FMA_DEVICE void operator()() const {
    const auto [item, kv_head] = ThisBlock(attention.spec);
    const QueryBlock block = LoadBlock(plan.blocks + item);
    const PrefillHead<T> head(*this, block.segment, kv_head);
    const int dim = static_cast<int>(layout.padded_dim);
    for (int i = ThreadIndex(); i < block.rows * dim; i += kThreads) {
      const int64_t row = block.first + i / dim;
      PlaceChannel(head, row, i % dim);
    }
  }

 private:
  FMA_DEVICE void PlaceChannel(const PrefillHead<T>& head, int64_t row, int channel) const {
    const AttentionSpec& spec = attention.spec;
    const bool real = channel < spec.head_dim;
    const float key = real ? LoadConstant(head.Token(true, row) + channel) : 0.0F;
    const float value = real ? LoadConstant(head.Token(false, row) + channel) : 0.0F;
    const int64_t position = head.position() + row;
    float placed = key;
    if (real && spec.positions == PositionEmbedding::kRope) {
      const int half = spec.head_dim / 2;
      const int pair = channel < half ? channel : channel - half;
      const Rotation rotation =
          RotationAt(static_cast<double>(position), LoadConstant(attention.frequencies + pair));
      const float other = LoadConstant(head.Token(true, row) + (channel < half ? half : 0) + pair);
      placed = key * rotation.cosine + (channel < half ? -other : other) * rotation.sine;
    }
    Store(head.PlacedKey(row) + channel, FromFloat<T>(placed));
    Store(head.PlacedValue(row) + channel, FromFloat<T>(value));
    if (position >= layout.hierarchy.sink_tokens) return;
    const int64_t sink = head.scratch.SinkEntry(position);
    Store(head.PlacedKey(sink) + channel, FromFloat<T>(spec.FarIsRotated() ? placed : key));
    Store(head.PlacedValue(sink) + channel, FromFloat<T>(value));
  }
};

/// Blocks: (group task, KV head).
template <typename T>
struct SumTokensKernel : PrefillParameters {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "sum_tokens";

  FMA_DEVICE void operator()() const {
    const auto [item, kv_head] = ThisBlock(attention.spec);
    const GroupTask* from = plan.groups + item;
    const GroupTask task = {Load(&from->group), Load(&from->segment), Load(&from->level)};
    const PrefillHead<T> head(*this, task.segment, kv_head);
    const int dim = static_cast<int>(layout.padded_dim);
    const int per_kind = layout.hierarchy.rank * dim;
    for (int i = ThreadIndex(); i < 2 * per_kind; i += kThreads) {
      const bool of_keys = i < per_kind;
      const int in_kind = of_keys ? i : i - per_kind;
      const int r = in_kind / dim;
      const int channel = in_kind % dim;
      const float sum = channel < layout.head_dim ? Sum(head, task, of_keys, r, channel) : 0.0F;
      Store(head.Target(of_keys, task.level, task.group, r) + channel, sum);
    }
  }

 private:
  FMA_DEVICE float Sum(const PrefillHead<T>& head, const GroupTask& task, bool of_keys, int r,
                       int channel) const {
    const int64_t tokens = layout.hierarchy.GroupTokens(task.level);
    const int64_t start = task.group * tokens;
    const int64_t first = start > head.position() ? start : head.position();
    const int64_t end = start + tokens < head.end() ? start + tokens : head.end();
    const bool goes_on = start < head.position();  // the slot has its first tokens
    if (attention.spec.downsampling == Downsampling::kAverage) {
      const int64_t share = layout.hierarchy.TokensPerSummary(task.level);
      float sum = goes_on ? Load(head.cache.Sum(of_keys, task.level, r, channel)) : 0.0F;
      const int64_t from = start + r * share > first ? start + r * share : first;
      const int64_t to = start + (r + 1) * share < end ? start + (r + 1) * share : end;
      for (int64_t t = from; t < to; ++t) {
        sum += LoadConstant(head.Token(of_keys, t - head.position()) + channel);
      }
      const bool complete = end == start + tokens;
      return complete ? sum * (1.0F / static_cast<float>(share)) : sum;
    }
    const DownsamplingLayout& at = attention.downsampling_layout;
    const int index = DownsamplingIndex(attention.spec, task.level);
    const float* weights = attention.downsampling + (of_keys ? 0 : at.floats) + channel;
    const int64_t dim = layout.padded_dim;
    float sum = goes_on ? Load(head.cache.Sum(of_keys, task.level, r, channel))
                        : LoadConstant(weights + at.Bias(index) + r * dim);
    for (int64_t t = first; t < end; ++t) {
      const float* token = head.Token(of_keys, t - head.position());
      const float* taps = weights + at.Taps(index, t - start) + r * at.mixed * dim;
      if (at.mixed == 1) {
        sum += LoadConstant(taps) * LoadConstant(token + channel);
      } else {
        for (int64_t from = 0; from < at.mixed; ++from) {
          sum += LoadConstant(taps + from * dim) * LoadConstant(token + from);
        }
      }
    }
    return sum;
  }
};

/// Blocks: (segment, KV head); y: keys, values.
template <typename T>
struct MergeSummariesKernel : PrefillParameters {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "merge_summaries";

  FMA_DEVICE void operator()() const {
    const auto [item, kv_head] = ThisBlock(attention.spec);
    const PrefillHead<T> head(*this, item, kv_head);
    const bool of_keys = BlockIndexY() == 0;
    const int dim = static_cast<int>(layout.padded_dim);
    const int per_group = layout.hierarchy.rank * dim;
    for (int level = 2; level <= layout.hierarchy.num_levels; ++level) {
      // Only groups that got a child change.
      const int64_t first_child = head.scratch.FirstCompleted(level - 1);
      const int64_t end_child = head.scratch.EndCompleted(level - 1);
      if (first_child == end_child) return;
      const int64_t first = first_child / 2;
      const int64_t groups = (end_child - 1) / 2 + 1 - first;
      for (int64_t i = ThreadIndex(); i < groups * per_group; i += kThreads) {
        const auto in_group = static_cast<int>(i % per_group);
        Merge(head, of_keys, level, first + i / per_group, in_group / dim, in_group % dim);
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
        sum += LoadConstant(weights + at.Taps(index, child * rank + i)) *
               Load(from + i * layout.padded_dim);
      }
    }
    Store(head.Target(of_keys, level, group, r) + channel, sum);
  }
};

/// Blocks: (segment, KV head); y: level - 1.
template <typename T>
struct PlaceSummariesKernel : PrefillParameters {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "place_summaries";

  FMA_DEVICE void operator()() const {
    const auto [item, kv_head] = ThisBlock(attention.spec);
    const PrefillHead<T> head(*this, item, kv_head);
    const int level = static_cast<int>(BlockIndexY()) + 1;
    const int dim = static_cast<int>(layout.padded_dim);
    const int rank = layout.hierarchy.rank;
    const int64_t first = head.scratch.FirstCompleted(level);
    const int64_t groups = head.scratch.EndCompleted(level) - first;
    for (int64_t i = ThreadIndex(); i < groups * rank * dim; i += kThreads) {
      const int64_t group = first + i / (int64_t{rank} * dim);
      Place(head, level, group, static_cast<int>(i / dim % rank), static_cast<int>(i % dim));
    }
  }

 private:
  FMA_DEVICE void Place(const PrefillHead<T>& head, int level, int64_t group, int r,
                        int channel) const {
    const float* raw = head.Raw(true, level, group, r);
    float key = Load(raw + channel);
    if (attention.spec.FarIsRotated() && channel < layout.head_dim) {
      const int half = layout.head_dim / 2;
      const int pair = channel < half ? channel : channel - half;
      const Rotation rotation = RotationAt(layout.hierarchy.SummaryCentre(level, group, r),
                                           LoadConstant(attention.frequencies + pair));
      const float other = Load(raw + (channel < half ? half : 0) + pair);
      key = key * rotation.cosine + (channel < half ? -other : other) * rotation.sine;
    }
    const int64_t entry = head.scratch.SummaryEntry(level, group, r);
    Store(head.PlacedKey(entry) + channel, FromFloat<T>(key));
    Store(head.PlacedValue(entry) + channel,
          FromFloat<T>(Load(head.Raw(false, level, group, r) + channel)));
  }
};

}  // namespace fmaserver::kernels::cuda
