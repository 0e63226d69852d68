// Rotary angles on the device. They are computed as rotations in float64 (1 is a full circle), and
// only the fractional part goes to sine and cosine: a float32 product would be wrong by a tenth of
// a radian at position 10^6 (docs/model.md, "Rotary positions").
#pragma once

#include <cmath>

#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

struct Rotation {
  float cosine;
  float sine;
};

/// `position` need not be whole; `frequency` is in rotations per token.
FMA_DEVICE Rotation RotationAt(double position, double frequency) {
  const double whole = rint(position * frequency);
  const auto half_turns = static_cast<float>(2.0 * std::fma(position, frequency, -whole));
  Rotation rotation;
  SinCosPi(half_turns, &rotation.sine, &rotation.cosine);
  return rotation;
}

/// Two channels that rotate together.
struct ChannelPair {
  float low;
  float high;
};

/// Fused operations are written out, here and above: kernels that append the same token must write
/// the same bits, and a compiler would be free to fuse either product.
FMA_DEVICE ChannelPair Rotate(const Rotation& by, const ChannelPair& pair) {
  return {std::fma(pair.low, by.cosine, -(pair.high * by.sine)),
          std::fma(pair.high, by.cosine, pair.low * by.sine)};
}

}  // namespace fmaserver::kernels::cuda
