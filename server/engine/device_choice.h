// Which device a checkpoint can be computed on, and its cache be kept on.
#pragma once

#include <string>

#include "kernels/fma/cache_type.h"
#include "model_loader/checkpoint.h"
#include "server/engine/weight_type.h"

namespace fmaserver::engine {

struct DeviceChoice {
  std::string name;  ///< of a device (kernels/device.h)
  std::string why;   ///< what was wrong with the GPU that "auto" might have found; empty: nothing
};

/// For a checkpoint that is loaded as `type`: `device`, but "cpu" instead of "auto" for what the
/// CPU alone does: weights that are then integers, and a cache of integers.
DeviceChoice DeviceFor(const model::Checkpoint& checkpoint, WeightType type,
                       kernels::CacheType cache, const std::string& device);

}  // namespace fmaserver::engine
