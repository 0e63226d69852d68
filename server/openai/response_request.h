// The JSON of POST /v1/responses.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "server/openai/fields.h"
#include "server/openai/generate_job.h"
#include "server/service/tokens.h"

namespace fmaserver::openai {

/// What a response has besides the fields of all requests, and which of those it has not.
std::span<const Field> ResponseFields();
std::span<const Field> AbsentFromResponses();

/// What `body` asks of a model with this vocabulary. INVALID_ARGUMENT names the field.
absl::StatusOr<GenerateJob> ReadResponse(const nlohmann::json& body,
                                         const service::Vocabulary& vocabulary);

/// Puts the instructions of `job` before its messages, unless they are `in_force` since an earlier
/// response; those stay in force where it brings none.
void ApplyInstructions(const std::optional<std::string>& in_force, GenerateJob& job);

}  // namespace fmaserver::openai
