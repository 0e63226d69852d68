// Queries as keys want them.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_data.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/rotation.h"

namespace fmaserver::kernels::cuda {

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
  const Turn turn =
      TurnAt(static_cast<double>(position), LoadConstant(attention.frequencies + pair));
  const float other = LoadConstant(query + (channel < half ? half : 0) + pair) * scale;
  return own * turn.cosine + (channel < half ? -other : other) * turn.sine;
}

}  // namespace fmaserver::kernels::cuda
