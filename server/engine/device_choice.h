// Which device can compute with a checkpoint's weights and keep a cache.
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

/// For a checkpoint that is loaded as `type`: `device`, but "cpu" instead of "auto" when weights
/// are then integers, or the cache is to be, which the CPU alone can do.
DeviceChoice DeviceFor(const model::Checkpoint& checkpoint, WeightType type,
                       kernels::CacheType cache, const std::string& device);

}  // namespace fmaserver::engine
