// The keys and values of many tokens as the cache holds them: a warp takes a token.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/rotation.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// Shared memory in which each warp of a block has a token's vectors.
class TokenOfWarp {
 public:
  static constexpr int64_t SharedMemory(const SlotLayout& layout, int threads) {
    return 3 * SharedBytes<float>(threads / kWarpSize * layout.padded_dim);
  }

  FMA_DEVICE explicit TokenOfWarp(const SlotLayout& layout)
      : TokenOfWarp(SharedArena(), static_cast<int>(layout.padded_dim)) {}

  /// Fills the warp's vectors [D] with those of the token at `position`: its key, its key rotated
  /// by its position, its value; zeros past the d channels of `key` and `value`, rows of the
  /// product.
  FMA_DEVICE void Fill(const DeviceAttention& attention, int64_t position, const float* key,
                       const float* value) const {
    const int dim = attention.spec.head_dim;
    const int half = dim / 2;
    const bool turns = attention.spec.positions == PositionEmbedding::kRope;
    SyncWarp();  // the token before has been read
    for (int c = LaneIndex(); c < dim_; c += kWarpSize) {
      const float own = c < dim ? LoadConstant(key + c) : 0.0F;
      key_.Set(At(c), own);
      value_.Set(At(c), c < dim ? LoadConstant(value + c) : 0.0F);
      if (!turns || c >= dim) {
        placed_.Set(At(c), own);
      } else if (c < half) {
        const Rotation rotation =
            RotationAt(static_cast<double>(position), LoadConstant(attention.frequencies + c));
        const ChannelPair placed = Rotate(rotation, {own, LoadConstant(key + half + c)});
        placed_.Set(At(c), placed.low);
        placed_.Set(At(half + c), placed.high);
      }
    }
    SyncWarp();
  }

  FMA_DEVICE float Key(int channel) const { return key_.Get(At(channel)); }
  FMA_DEVICE float PlacedKey(int channel) const { return placed_.Get(At(channel)); }
  FMA_DEVICE float Value(int channel) const { return value_.Get(At(channel)); }

 private:
  FMA_DEVICE TokenOfWarp(SharedArena arena, int dim)
      : dim_(dim),
        key_(arena.Take<float>(ThreadCount() / kWarpSize * dim)),
        placed_(arena.Take<float>(ThreadCount() / kWarpSize * dim)),
        value_(arena.Take<float>(ThreadCount() / kWarpSize * dim)) {}

  FMA_DEVICE int At(int channel) const { return WarpIndex() * dim_ + channel; }

  const int dim_;
  const Shared<float> key_;
  const Shared<float> placed_;
  const Shared<float> value_;
};

/// Calls store(is_key, is_sink, channel) with a function of channels for each vector that the token
/// at `position` leaves in a cache; sinks in the form in which far queries see them.
template <typename Store>
FMA_DEVICE void StoreToken(const DeviceAttention& attention, int64_t position, int64_t sinks,
                           const TokenOfWarp& token, const Store& store) {
  const auto placed = [&](int c) { return token.PlacedKey(c); };
  const auto value = [&](int c) { return token.Value(c); };
  store(true, false, placed);
  store(false, false, value);
  if (position >= sinks) return;
  const bool turned = attention.spec.FarIsRotated();
  store(true, true, [&](int c) { return turned ? token.PlacedKey(c) : token.Key(c); });
  store(false, true, value);
}

}  // namespace fmaserver::kernels::cuda
