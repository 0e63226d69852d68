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

std::string DeviceFor(const model::Checkpoint& checkpoint, WeightType type,
                      const std::string& device) {
  const bool rounds = type == WeightType::kInt8 || type == WeightType::kInt4;
  const bool needs_cpu = rounds || !checkpoint.config().attention.causal || HasIntegers(checkpoint);
  return device == "auto" && needs_cpu ? "cpu" : device;
}

}  // namespace fmaserver::engine
