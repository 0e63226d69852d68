#include "server/engine/device_choice.h"

namespace fmaserver::engine {

DeviceChoice DeviceFor(const model::Checkpoint& checkpoint, const std::string& device) {
  if (device != "auto" || checkpoint.config().attention.causal) return {device, ""};
  return {"cpu", "encoders are for the CPU alone"};
}

}  // namespace fmaserver::engine
