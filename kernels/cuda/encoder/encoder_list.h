// Queries of one KV head that meet one list of keys, tile by tile: a tile's keys and values are
// brought into shared memory, then every query of the block meets them (online softmax).
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/softmax.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// Up to kQueries queries and kTile keys at the same time, by all kThreads threads of a block.
template <int kQueries, int kTile>
class EncoderList {
 public:
  static constexpr int kThreads = 256;

  static constexpr int64_t SharedMemory(int dim) {
    return 2 * SharedBytes<float>(kQueries * dim) + SharedBytes<float>(kTile * (dim + 1)) +
           SharedBytes<float>(kTile * dim) + SharedBytes<float>(kQueries * kTile) +
           SharedBytes<Key>(kTile) + SoftmaxState::SharedMemory(kQueries);
  }

  /// A key [d] and its value [d], and what is added to its score: far_bias + bias of a query's
  /// head.
  struct Key {
    const float* key;
    const float* value;
    int64_t bias;  ///< -1: nothing is
  };

  /// `count` queries of `dim` channels. A barrier must follow.
  FMA_DEVICE EncoderList(SharedArena& arena, int dim, int count)
      : dim_(dim),
        count_(count),
        query_(arena.Take<float>(kQueries * dim)),
        sum_(arena.Take<float>(kQueries * dim)),
        key_(arena.Take<float>(kTile * (dim + 1))),
        value_(arena.Take<float>(kTile * dim)),
        weight_(arena.Take<float>(kQueries * kTile)),
        source_(arena.Take<Key>(kTile)),
        softmax_(arena, kQueries) {}

  /// Called by all threads: query(i, channel) for i < count; the rest are zeros.
  template <typename Query>
  FMA_DEVICE void SetQueries(const Query& query) const {
    for (int i = ThreadIndex(); i < kQueries * dim_; i += kThreads) {
      query_.Set(i, i < count_ * dim_ ? query(i / dim_, i % dim_) : 0.0F);
    }
  }

  /// Called by all threads: starts with what was found elsewhere, if `found`: one key for each
  /// query, with the score mass(i) and the value value(i, channel).
  template <typename Mass, typename Value>
  FMA_DEVICE void Start(bool found, const Mass& mass, const Value& value) const {
    for (int i = ThreadIndex(); i < kQueries * dim_; i += kThreads) {
      sum_.Set(i, found && i < count_ * dim_ ? value(i / dim_, i % dim_) : 0.0F);
    }
    if (ThreadIndex() >= count_) return;
    SoftmaxStart start;
    if (found) start = {.max = mass(ThreadIndex()), .total = 1};
    softmax_.Start(ThreadIndex(), start);
  }

  /// Called by all threads, after a barrier: meets `keys` keys, of which key(i), called with
  /// growing i, gives one; query i has the biases bias(i)[Key::bias]. Ends with a barrier.
  template <typename Find, typename Bias>
  FMA_DEVICE void Meet(int keys, Find key, const Bias& bias) const {
    for (int first = 0; first < keys; first += kTile) {
      const int tile = keys - first < kTile ? keys - first : kTile;
      if (ThreadIndex() < tile) source_.Set(ThreadIndex(), key(first + ThreadIndex()));
      SyncThreads();
      Stage(tile);
      SyncThreads();
      Score(tile, bias);
      SyncThreads();
      for (int query = WarpIndex(); query < count_; query += kWarps) {
        softmax_.Advance(query, weight_, query * kTile, tile);
      }
      SyncThreads();
      AddValues(tile);
      SyncThreads();
    }
  }

  /// The mean of all values by their weights; 0 where nothing was met.
  FMA_DEVICE float Mean(int query, int channel) const {
    const float total = softmax_.Total(query);
    return total > 0 ? sum_.Get(query * dim_ + channel) / total : 0.0F;
  }
  /// The logarithm of the sum of exponentials of all scores.
  FMA_DEVICE float Mass(int query) const {
    return softmax_.Max(query) + std::log(softmax_.Total(query));
  }

 private:
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr int kRows = kThreads / kTile;  // queries that are scored at the same time
  static constexpr int kScored = (kQueries + kRows - 1) / kRows;    // by a thread
  static constexpr int kSummed = (kQueries + kWarps - 1) / kWarps;  // by a warp

  FMA_DEVICE void Stage(int tile) const {
    for (int i = ThreadIndex(); i < tile * dim_; i += kThreads) {
      const Key source = source_.Get(i / dim_);
      const int channel = i % dim_;
      // Rows of keys are one number longer, so that the lanes of a score are in different banks.
      key_.Set(i / dim_ * (dim_ + 1) + channel, Load(source.key + channel));
      value_.Set(i, Load(source.value + channel));
    }
  }

  /// A thread takes a key and every kRows-th query.
  template <typename Bias>
  FMA_DEVICE void Score(int tile, const Bias& bias) const {
    const int key = ThreadIndex() % kTile;
    const int first = ThreadIndex() / kTile;
    if (key >= tile || first >= count_) return;
    float scores[kScored] = {};
    for (int c = 0; c < dim_; ++c) {
      const float channel = key_.Get(key * (dim_ + 1) + c);
      FMA_UNROLL
      for (int i = 0; i < kScored; ++i) {
        const int query = first + i * kRows;
        if (query < kQueries) {
          scores[i] = std::fma(query_.Get(query * dim_ + c), channel, scores[i]);
        }
      }
    }
    const int64_t of_level = source_.Get(key).bias;
    FMA_UNROLL
    for (int i = 0; i < kScored; ++i) {
      const int query = first + i * kRows;
      if (query >= count_) continue;
      const float added = of_level < 0 ? 0.0F : LoadConstant(bias(query) + of_level);
      weight_.Set(query * kTile + key, scores[i] + added);
    }
  }

  /// A warp takes every kWarps-th query, a lane every 32nd channel.
  FMA_DEVICE void AddValues(int tile) const {
    for (int channel = LaneIndex(); channel < dim_; channel += kWarpSize) {
      float sums[kSummed] = {};
      FMA_UNROLL
      for (int i = 0; i < kSummed; ++i) {
        const int query = WarpIndex() + i * kWarps;
        if (query < count_) sums[i] = sum_.Get(query * dim_ + channel) * softmax_.Rescale(query);
      }
      for (int key = 0; key < tile; ++key) {
        const float value = value_.Get(key * dim_ + channel);
        FMA_UNROLL
        for (int i = 0; i < kSummed; ++i) {
          const int query = WarpIndex() + i * kWarps;
          if (query < count_) sums[i] = std::fma(weight_.Get(query * kTile + key), value, sums[i]);
        }
      }
      FMA_UNROLL
      for (int i = 0; i < kSummed; ++i) {
        const int query = WarpIndex() + i * kWarps;
        if (query < count_) sum_.Set(query * dim_ + channel, sums[i]);
      }
    }
  }

  const int dim_;
  const int count_;
  const Shared<float> query_;   // [kQueries, d]
  const Shared<float> sum_;     // [kQueries, d]
  const Shared<float> key_;     // [kTile, d + 1]
  const Shared<float> value_;   // [kTile, d]
  const Shared<float> weight_;  // [kQueries, kTile]: scores, then weights
  const Shared<Key> source_;    // [kTile]
  const SoftmaxState softmax_;
};

}  // namespace fmaserver::kernels::cuda
