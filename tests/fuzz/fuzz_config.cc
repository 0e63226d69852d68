#include "model_loader/expected_tensors.h"
#include "model_loader/model_config.h"
#include "tests/fuzz/fuzz_target.h"

using fmaserver::Require;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config =
      fmaserver::model::ParseModelConfig(fmaserver::AsText(data, size), "config.json");
  if (!config.ok()) return 0;
  const fmaserver::kernels::AttentionSpec& spec = config->attention;
  Require(spec.num_heads % spec.num_kv_heads == 0 && spec.QkvColumns() > 0);
  const bool even = spec.hierarchy.group_size % spec.hierarchy.rank == 0;
  Require((even || spec.Selects()) && spec.hierarchy.Horizon() > 0);
  Require(config->norm_eps > 0.0F && spec.rope_theta > 0.0);
  constexpr int kQuickLayers = 4;
  if (config->num_layers > kQuickLayers) return 0;
  for (const fmaserver::model::ExpectedTensor& tensor :
       fmaserver::model::ExpectedTensors(*config)) {
    for (const int64_t extent : tensor.shape) Require(extent > 0);
    Require(tensor.Fits(tensor.shape));
  }
  return 0;
}
