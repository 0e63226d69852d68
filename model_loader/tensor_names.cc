#include "model_loader/tensor_names.h"

#include "base/text.h"

namespace fmaserver::model {

std::string LayerModule(int layer, std::string_view module) {
  return Concat("model.layers.", layer, ".", module);
}

std::string DownsamplingModule(int layer, std::string_view keys_or_values, int index) {
  return LayerModule(layer, Concat(keys_or_values, ".", index));
}

std::string WeightOf(std::string_view module) { return Concat(module, ".weight"); }

std::string BiasOf(std::string_view module) { return Concat(module, ".bias"); }

}  // namespace fmaserver::model
