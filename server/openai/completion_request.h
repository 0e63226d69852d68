// The JSON of POST /v1/completions.
#pragma once

#include <span>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"
#include "server/openai/fields.h"
#include "server/openai/generate_job.h"

namespace fmaserver::openai {

/// Prompts of one request, at most.
inline constexpr size_t kMaxPrompts = 1024;

/// What a completion has besides the fields of all requests.
std::span<const Field> CompletionFields();

/// Fills `job`, which has its vocabulary. INVALID_ARGUMENT names the field.
absl::Status ReadCompletion(const nlohmann::json& body, GenerateJob& job);

}  // namespace fmaserver::openai
