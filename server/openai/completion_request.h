// The JSON of POST /v1/completions.
#pragma once

#include "absl/status/status.h"
#include "nlohmann/json.hpp"
#include "server/openai/generate_job.h"

namespace fmaserver::openai {

/// Prompts of one request, at most.
inline constexpr size_t kMaxPrompts = 1024;

/// Fills `job`, which has its vocabulary. INVALID_ARGUMENT names the field.
absl::Status ReadCompletion(const nlohmann::json& body, GenerateJob& job);

}  // namespace fmaserver::openai
