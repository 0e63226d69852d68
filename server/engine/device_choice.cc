#include "server/engine/device_choice.h"

#include <algorithm>
#include <vector>

#include "kernels/fma/weight_format.h"
#include "model_loader/expected_tensors.h"

namespace fmaserver::engine {
namespace {

bool HasIntegers(const model::Checkpoint& checkpoint) {
  const std::vector<model::ExpectedTensor> tensors = model::ExpectedTensors(checkpoint.config());
  return std::ranges::any_of(tensors, [&checkpoint](const model::ExpectedTensor& tensor) {
    return tensor.may_be_in_blocks && kernels::InBlocks(checkpoint.Tensor(tensor.name).dtype);
  });
}

}  // namespace

DeviceChoice DeviceFor(const model::Checkpoint& checkpoint, WeightType type,
                       kernels::CacheType cache, const std::string& device) {
  if (device != "auto") return {device, ""};
  const bool rounds = type == WeightType::kInt8 || type == WeightType::kInt4;
  if (rounds || HasIntegers(checkpoint)) {
    return {"cpu", "int8 and int4 weights are for the CPU alone"};
  }
  if (cache == kernels::CacheType::kInt8) return {"cpu", "a cache in int8 is for the CPU alone"};
  return {device, ""};
}

}  // namespace fmaserver::engine
