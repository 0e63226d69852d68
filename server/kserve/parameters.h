// Sampling fields by their names in fma.v1.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "fma/v1/generation.pb.h"
#include "nlohmann/json.hpp"

namespace fmaserver::kserve {

/// Sets the field `name` of SamplingParams, or one of GenerateRequest that says how to generate.
/// `value` is as in the JSON form of these messages; one value stands for a list of it.
/// INVALID_ARGUMENT for another name or another type; ranges are checked later.
absl::Status SetParameter(const std::string& name, const nlohmann::json& value,
                          v1::GenerateRequest& request);

/// All fields of `json`, the text of one object.
absl::Status SetParameters(const std::string& json, v1::GenerateRequest& request);

}  // namespace fmaserver::kserve
