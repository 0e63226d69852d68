// The summaries of one level of encoders' groups, of which the last may lack tokens.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/encoder/encoder_kernel.h"

namespace fmaserver::kernels::cuda {

/// Blocks: groups of the level; y: BlocksY(), a thread for each channel of each vector of a token.
struct EncoderSummariesKernel : EncoderKernel {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "encoder_summaries";

  static constexpr int64_t BlocksY(const AttentionSpec& spec) {
    return (spec.QkvColumns() + kThreads - 1) / kThreads;
  }

  FMA_DEVICE void operator()() const {
    const AttentionSpec& spec = attention.spec;
    const int64_t item = BlockIndexY() * kThreads + ThreadIndex();
    if (item >= SummaryColumns() * spec.head_dim) return;
    const Vector vector = {FirstSummaryColumn() + item / spec.head_dim,
                           static_cast<int>(item % spec.head_dim)};
    const EncoderGroup group = GroupAt(level, first + BlockIndex());
    const int64_t place = Place(level, group.sequence, group.index);
    const Inputs inputs = InputsOf(group, vector.column);
    for (int r = 0; r < spec.hierarchy.rank; r += kTogether) {
      const int left = spec.hierarchy.rank - r;
      SumShares(inputs, vector, place, r, left < kTogether ? left : kTogether);
    }
  }

 private:
  static constexpr int kTogether = 4;  ///< summaries that share the loads of an input

  /// One channel of a vector of every token.
  struct Vector {
    int64_t column;
    int channel;
  };
  /// What a group's summaries are made of: tokens, or what there is of the level below.
  struct Inputs {
    const float* first;  ///< [d]
    int64_t stride;      ///< to the next
    int64_t count;
    int64_t of_share;  ///< with averages: how many belong to a summary
  };

  FMA_DEVICE Inputs InputsOf(const EncoderGroup& group, int64_t column) const {
    const AttentionSpec& spec = attention.spec;
    const Hierarchy& h = spec.hierarchy;
    const bool from_below = level > 1 && (spec.downsampling == Downsampling::kHierarchical ||
                                          spec.downsampling == Downsampling::kAverage);
    if (from_below) {
      const int64_t child = 2 * group.index;
      const int64_t left = h.GroupsWithTokens(level - 1, group.length) - child;
      return {Summary(column, Place(level - 1, group.sequence, child)), spec.head_dim,
              (left < 2 ? left : 2) * h.rank, 2};
    }
    const int64_t width = h.GroupTokens(level);
    const int64_t token = group.index * width;
    const int64_t left = group.length - token;
    return {Token(group.first_row + token, column), spec.QkvColumns(), left < width ? left : width,
            h.TokensPerSummary(level)};
  }

  /// Makes summaries [r, r + shares) of a channel.
  FMA_DEVICE void SumShares(const Inputs& inputs, const Vector& vector, int64_t place, int r,
                            int shares) const {
    float sums[kTogether] = {};
    if (attention.spec.downsampling == Downsampling::kAverage) {
      for (int i = 0; i < shares; ++i) sums[i] = SumOfShare(inputs, vector.channel, r + i);
    } else {
      Weigh(inputs, vector, r, shares, sums);
    }
    for (int i = 0; i < shares; ++i) {
      Store(Summary(vector.column, place + r + i) + vector.channel, sums[i]);
    }
  }

  /// Of an average; of none it is 0.
  FMA_DEVICE float SumOfShare(const Inputs& inputs, int channel, int share) const {
    const int64_t end = (share + 1) * inputs.of_share;
    float sum = 0;
    for (int64_t i = share * inputs.of_share; i < end && i < inputs.count; ++i) {
      sum += LoadConstant(inputs.first + i * inputs.stride + channel);
    }
    return sum;
  }

  FMA_DEVICE void Weigh(const Inputs& inputs, const Vector& vector, int r, int shares,
                        float (&sums)[kTogether]) const {
    const DownsamplingLayout& packed = attention.downsampling_layout;
    const int index = DownsamplingIndex(attention.spec, level);
    const int64_t dim = packed.vector / attention.spec.hierarchy.rank;
    const float* const weights = WeightsOf(vector.column) + vector.channel;
    for (int i = 0; i < shares; ++i) {
      sums[i] = LoadConstant(weights + packed.Bias(index) + (r + i) * dim);
    }
    for (int64_t input = 0; input < inputs.count; ++input) {
      const float* const x = inputs.first + input * inputs.stride;
      const float* const taps = weights + packed.Taps(index, input) + r * packed.mixed * dim;
      for (int64_t from = 0; from < packed.mixed; ++from) {
        const float value = LoadConstant(x + (packed.mixed == 1 ? vector.channel : from));
        for (int i = 0; i < shares; ++i) {
          sums[i] = std::fma(LoadConstant(taps + (i * packed.mixed + from) * dim), value, sums[i]);
        }
      }
    }
  }

  FMA_DEVICE const float* WeightsOf(int64_t column) const {
    const AttentionSpec& spec = attention.spec;
    const int kind = column < spec.num_heads                       ? 2
                     : column < spec.num_heads + spec.num_kv_heads ? 0
                                                                   : 1;
    return attention.downsampling + kind * attention.downsampling_layout.floats;
  }
};

}  // namespace fmaserver::kernels::cuda
