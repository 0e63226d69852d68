#include "model_loader/tensor_names.h"

#include "base/text.h"

namespace fmaserver::model {
namespace {

constexpr std::string_view kScales = ".weight_scales";
constexpr std::string_view kMinima = ".weight_minima";

std::string_view ModuleOf(std::string_view weight) {
  return weight.substr(0, weight.size() - std::string_view(".weight").size());
}

}  // namespace

std::string LayerModule(int layer, std::string_view module) {
  return Concat("model.layers.", layer, ".", module);
}

std::string DownsamplingModule(int layer, std::string_view keys_or_values, int index) {
  return LayerModule(layer, Concat(keys_or_values, ".", index));
}

std::string WeightOf(std::string_view module) { return Concat(module, ".weight"); }

std::string BiasOf(std::string_view module) { return Concat(module, ".bias"); }

std::string ScalesOf(std::string_view weight) { return Concat(ModuleOf(weight), kScales); }

std::string MinimaOf(std::string_view weight) { return Concat(ModuleOf(weight), kMinima); }

bool IsOfBlocks(std::string_view name) {
  return name.ends_with(kScales) || name.ends_with(kMinima);
}

}  // namespace fmaserver::model
