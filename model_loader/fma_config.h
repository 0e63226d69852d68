// The `fma` object of config.json: the shape of the attention. docs/model.md, "config.json".
#pragma once

#include "kernels/fma/spec.h"
#include "model_loader/config_reader.h"

namespace fmaserver::model {

/// Reads every key of `fma` into `spec`, which has the rest of the model already; what has a
/// default is filled in. The first problem sticks in the reader.
void ReadFma(ConfigReader& reader, kernels::AttentionSpec& spec);

}  // namespace fmaserver::model
