// Which device a checkpoint can be computed on.
#pragma once

#include <string>

#include "model_loader/checkpoint.h"
#include "server/engine/weight_type.h"

namespace fmaserver::engine {

/// The name of a device (kernels/device.h) for a checkpoint that is loaded as `type`: `device`, but
/// "cpu" instead of "auto" for what the CPU alone computes: weights that are then integers, and
/// encoders.
std::string DeviceFor(const model::Checkpoint& checkpoint, WeightType type,
                      const std::string& device);

}  // namespace fmaserver::engine
