// Which device a checkpoint can be computed on.
#pragma once

#include <string>

#include "model_loader/checkpoint.h"

namespace fmaserver::engine {

struct DeviceChoice {
  std::string name;  ///< of a device (kernels/device.h)
  std::string why;   ///< what was wrong with the GPU that "auto" might have found; empty: nothing
};

/// `device`, but "cpu" instead of "auto" for what the CPU alone does: encoders.
DeviceChoice DeviceFor(const model::Checkpoint& checkpoint, const std::string& device);

}  // namespace fmaserver::engine
