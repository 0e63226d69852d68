// Small random checkpoints of any configuration, for tests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "kernels/fma/weight_format.h"
#include "model_loader/model_config.h"

namespace fmaserver::testing {

/// The least that has everything: 2 layers of 4 heads, a vocabulary of 11.
model::ModelConfig TinyConfig();

/// A config.json that ParseModelConfig turns back into `config`.
std::string ConfigJson(const model::ModelConfig& config);

/// Writes config.json and model.safetensors of a model of `config` into `folder`, which is made
/// when it is missing. The same arguments give the same bytes. Weights are scaled so that
/// activations stay O(1); norms have biases with layernorm. `level_bias_columns` (1..num_levels) is
/// the width of the level biases when config.attention.level_bias is on.
absl::Status WriteRandomCheckpoint(const model::ModelConfig& config, uint64_t seed,
                                   kernels::WeightFormat dtype, const std::filesystem::path& folder,
                                   int level_bias_columns = 1);

}  // namespace fmaserver::testing
