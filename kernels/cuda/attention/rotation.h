// Rotary angles on the device. They are formed as turns in float64, and what is left of the last
// turn goes to sine and cosine: a float32 product would be off by a tenth of a radian at position
// 10^6 (docs/model.md, "Rotary positions").
#pragma once

#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

struct Rotation {
  float cosine;
  float sine;
};

/// `position` need not be whole; `frequency` in turns for each token.
FMA_DEVICE Rotation RotationAt(double position, double frequency) {
  const double turns = position * frequency;
  const auto half_turns = static_cast<float>(2.0 * (turns - rint(turns)));
  Rotation rotation;
  SinCosPi(half_turns, &rotation.sine, &rotation.cosine);
  return rotation;
}

}  // namespace fmaserver::kernels::cuda
