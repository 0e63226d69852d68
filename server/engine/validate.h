// The checks that a request must pass before the engine takes it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model_loader/model_config.h"
#include "server/engine/request.h"
#include "server/engine/valid_request.h"

namespace fmaserver::engine {

/// Checks the tokens of one or more sequences of `length` tokens each: at least one token, each in
/// [0, V), and no sequence longer than the model's learned positions. `field` names them in the
/// message.
absl::Status ValidateTokens(std::string_view field, std::span<const int32_t> tokens,
                            const model::ModelConfig& config, int64_t length);

/// INVALID_ARGUMENT names the field, what was found and what is allowed.
absl::StatusOr<ValidGenerateRequest> Validate(GenerateRequest request,
                                              const model::ModelConfig& config);
absl::StatusOr<ValidScoreRequest> Validate(ScoreRequest request, const model::ModelConfig& config);

}  // namespace fmaserver::engine
