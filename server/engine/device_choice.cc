#include "server/engine/device_choice.h"

namespace fmaserver::engine {

DeviceChoice DeviceFor(const model::Checkpoint& checkpoint, kernels::CacheType cache,
                       const std::string& device) {
  if (device != "auto") return {device, ""};
  if (!checkpoint.config().attention.causal) return {"cpu", "encoders are for the CPU alone"};
  if (cache == kernels::CacheType::kInt8) return {"cpu", "a cache in int8 is for the CPU alone"};
  return {device, ""};
}

}  // namespace fmaserver::engine
