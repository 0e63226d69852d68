// Queries, scaled and rotated as the keys need them.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/rotation.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// Channels `pair` and `pair` + d/2 of the query [d] at `position`, d even, scaled and rotated.
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

/// Channel `channel` of the query [d] at `position`, scaled; with rotary positions rotated if
/// `rotated`.
FMA_DEVICE float QueryChannel(const DeviceAttention& attention, const float* query,
                              int64_t position, int channel, bool rotated) {
  const int dim = attention.spec.head_dim;
  if (rotated && attention.spec.positions == PositionEmbedding::kRope) {
    const int half = dim / 2;
    const bool is_low = channel < half;
    const ChannelPair pair =
        RotatedPair(attention, query, position, is_low ? channel : channel - half);
    return is_low ? pair.low : pair.high;
  }
  return LoadConstant(query + channel) * attention.query_scale;
}

}  // namespace fmaserver::kernels::cuda
