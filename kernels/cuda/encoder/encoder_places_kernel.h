// Puts what encoders' queries meet in its place: summaries once all levels are made, and the keys
// of tokens.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/rotation.h"
#include "kernels/cuda/encoder/encoder_kernel.h"

namespace fmaserver::kernels::cuda {

/// Sums become averages, those of queries are scaled, keys and queries are rotated by the centres
/// of their shares. Blocks: groups of the level.
struct EncoderPlacesKernel : EncoderKernel {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "encoder_places";

  FMA_DEVICE void operator()() const {
    const AttentionSpec& spec = attention.spec;
    const EncoderGroup group = GroupAt(level, first + BlockIndex());
    const int64_t place = Place(level, group.sequence, group.index);
    const int pairs = (spec.head_dim + 1) / 2;
    const int64_t of_share = SummaryColumns() * pairs;
    for (int64_t i = ThreadIndex(); i < spec.hierarchy.rank * of_share; i += kThreads) {
      const auto r = static_cast<int>(i / of_share);
      const int64_t column = FirstSummaryColumn() + i % of_share / pairs;
      PlacePair(Summary(column, place + r), column, Factor(group, r, column),
                spec.hierarchy.SummaryCentre(level, group.index, r), static_cast<int>(i % pairs));
    }
  }

 private:
  FMA_DEVICE float Factor(const EncoderGroup& group, int r, int64_t column) const {
    const AttentionSpec& spec = attention.spec;
    float factor = 1;
    if (spec.downsampling == Downsampling::kAverage) {
      const int64_t width = spec.hierarchy.TokensPerSummary(level);
      const int64_t left = group.length - (group.index * spec.hierarchy.rank + r) * width;
      const int64_t tokens = left < 1 ? 1 : left < width ? left : width;  // nobody sees one of none
      factor = 1.0F / static_cast<float>(tokens);
    }
    return column < spec.num_heads ? factor * attention.query_scale : factor;
  }

  /// Channels `pair` and, if there is one, `pair` + d/2 of a summary.
  FMA_DEVICE void PlacePair(float* summary, int64_t column, float factor, double centre,
                            int pair) const {
    const AttentionSpec& spec = attention.spec;
    const int half = spec.head_dim / 2;
    const bool alone = pair == half;  // the last of an odd number
    float* const low = summary + (alone ? spec.head_dim - 1 : pair);
    ChannelPair own = {Load(low) * factor, alone ? 0.0F : Load(summary + half + pair) * factor};
    if (spec.FarIsRotated() && column < spec.num_heads + spec.num_kv_heads) {
      own = Rotate(RotationAt(centre, LoadConstant(attention.frequencies + pair)), own);
    }
    Store(low, own.low);
    if (!alone) Store(summary + half + pair, own.high);
  }
};

/// Rotates the keys of tokens by their positions, in place: of rows [first, first + count). A
/// thread takes a pair of channels; grid: Blocks().
struct EncoderKeysKernel : EncoderKernel {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "encoder_keys";

  int64_t Blocks() const { return (count * PairsOfRow() + kThreads - 1) / kThreads; }

  FMA_DEVICE void operator()() const {
    const int64_t item = BlockIndex() * kThreads + ThreadIndex();
    const int64_t pairs = PairsOfRow();
    if (item >= count * pairs) return;
    const int half = attention.spec.head_dim / 2;
    const int64_t row = first + item / pairs;
    const int64_t position = row - Number(at.FirstRow(SequenceOf(at.FirstRow(0), row)));
    const auto of_row = static_cast<int>(item % pairs);
    float* const key = Token(row, attention.spec.num_heads + of_row / half) + of_row % half;
    const double frequency = LoadConstant(attention.frequencies + of_row % half);
    const ChannelPair placed =
        Rotate(RotationAt(static_cast<double>(position), frequency), {Load(key), Load(key + half)});
    Store(key, placed.low);
    Store(key + half, placed.high);
  }

 private:
  constexpr int64_t PairsOfRow() const {
    return int64_t{attention.spec.num_kv_heads} * (attention.spec.head_dim / 2);
  }
};

}  // namespace fmaserver::kernels::cuda
