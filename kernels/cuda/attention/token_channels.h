// A token's key and value as the cache holds them, a few channels at a time, so that threads can
// share the channels of many tokens.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/rotation.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// The items of one token: the two channels that rotate together are one, each other channel is
/// one, up to D.
FMA_DEVICE int PlacedItems(const DeviceAttention& attention, const SlotLayout& layout) {
  const bool turns = attention.spec.positions == PositionEmbedding::kRope;
  return static_cast<int>(layout.padded_dim) - (turns ? attention.spec.head_dim / 2 : 0);
}

/// Calls place(channel, key, key rotated by `position`, value) for every channel of `item`. `key`
/// and `value` [d] are rows of the product; channels past them are zeros.
template <typename Place>
FMA_DEVICE void PlaceItem(const DeviceAttention& attention, int item, int64_t position,
                          const float* key, const float* value, const Place& place) {
  const AttentionSpec& spec = attention.spec;
  const int pairs = spec.positions == PositionEmbedding::kRope ? spec.head_dim / 2 : 0;
  if (item < pairs) {
    const int high = pairs + item;
    const Rotation rotation =
        RotationAt(static_cast<double>(position), LoadConstant(attention.frequencies + item));
    const ChannelPair own = {LoadConstant(key + item), LoadConstant(key + high)};
    const ChannelPair placed = Rotate(rotation, own);
    place(item, own.low, placed.low, LoadConstant(value + item));
    place(high, own.high, placed.high, LoadConstant(value + high));
    return;
  }
  const int channel = pairs + item;
  const bool real = channel < spec.head_dim;
  const float own = real ? LoadConstant(key + channel) : 0.0F;
  place(channel, own, own, real ? LoadConstant(value + channel) : 0.0F);
}

}  // namespace fmaserver::kernels::cuda
