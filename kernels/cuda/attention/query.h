// Queries as keys want them.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/rotation.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// A channel of a query, and the one that rotates together with it.
struct QueryPair {
  float low;
  float high;
};

/// Channels `pair` and `pair` + d/2 of the query [d] at `position`, d even, scaled by 1/sqrt(d) and
/// rotated.
FMA_DEVICE QueryPair RotatedPair(const DeviceAttention& attention, const float* query,
                                 int64_t position, int pair) {
  const int dim = attention.spec.head_dim;
  const float scale = 1.0F / sqrtf(static_cast<float>(dim));
  const float low = LoadConstant(query + pair) * scale;
  const float high = LoadConstant(query + dim / 2 + pair) * scale;
  const Rotation turn =
      RotationAt(static_cast<double>(position), LoadConstant(attention.frequencies + pair));
  return {low * turn.cosine - high * turn.sine, high * turn.cosine + low * turn.sine};
}

/// Channel `channel` of the query [d] at `position`, scaled by 1/sqrt(d); with rotary positions
/// rotated if `rotated`.
FMA_DEVICE float QueryChannel(const DeviceAttention& attention, const float* query,
                              int64_t position, int channel, bool rotated) {
  const int dim = attention.spec.head_dim;
  const float scale = 1.0F / sqrtf(static_cast<float>(dim));
  const float own = LoadConstant(query + channel) * scale;
  if (!rotated || attention.spec.positions != PositionEmbedding::kRope) return own;
  const int half = dim / 2;
  const int pair = channel < half ? channel : channel - half;
  const Rotation rotation =
      RotationAt(static_cast<double>(position), LoadConstant(attention.frequencies + pair));
  const float other = LoadConstant(query + (channel < half ? half : 0) + pair) * scale;
  return own * rotation.cosine + (channel < half ? -other : other) * rotation.sine;
}

}  // namespace fmaserver::kernels::cuda
