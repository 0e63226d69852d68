// Queries, scaled and rotated as the keys need them.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/rotation.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// How a query is rotated for a part of what it sees. Without rotary positions it never is.
enum class QueryForm : uint8_t {
  kPlaced,  ///< by its position
  kFar,     ///< for levels without rotary positions: not or, with a max_distance, by that
  kSinks,   ///< for sinks that left the near field
};

/// Whether a query is rotated, and by what.
struct QueryTurn {
  bool turns;
  int64_t position;
};

FMA_DEVICE QueryTurn TurnOf(const AttentionSpec& spec, QueryForm form, int64_t position) {
  const bool turns = spec.positions == PositionEmbedding::kRope;
  const int64_t limit = spec.max_distance;
  if (form == QueryForm::kPlaced || !turns) return {turns, position};
  if (form == QueryForm::kFar) return {limit > 0, limit};
  return {spec.FarIsRotated(), limit > 0 && limit < position ? limit : position};
}

/// Channels `pair` and `pair` + d/2 of the query [d], d even, scaled and rotated by
/// `position`.
FMA_DEVICE ChannelPair RotatedPair(const DeviceAttention& attention, const float* query,
                                   int64_t position, int pair) {
  const int dim = attention.spec.head_dim;
  const float scale = attention.query_scale;
  const float low = LoadConstant(query + pair) * scale;
  const float high = LoadConstant(query + dim / 2 + pair) * scale;
  return Rotate(
      RotationAt(static_cast<double>(position), LoadConstant(attention.frequencies + pair)),
      {low, high});
}

/// Channel `channel` of the query [d], scaled and turned.
FMA_DEVICE float QueryChannel(const DeviceAttention& attention, const float* query,
                              const QueryTurn& turn, int channel) {
  const int dim = attention.spec.head_dim;
  if (turn.turns) {
    const int half = dim / 2;
    const bool is_low = channel < half;
    const ChannelPair pair =
        RotatedPair(attention, query, turn.position, is_low ? channel : channel - half);
    return is_low ? pair.low : pair.high;
  }
  return LoadConstant(query + channel) * attention.query_scale;
}

}  // namespace fmaserver::kernels::cuda
