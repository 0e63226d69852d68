// The request of an interrupted turn, as session files hold it: fma/internal/turn_request.proto,
// which the sessions call RequestFormat::kServiceRecord.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/service/generate_request.h"

namespace fmaserver::service {

/// What a resumed turn needs of `request`: all but the prompt, which is in the session by then, and
/// what is said of the prompt.
std::string EncodeTurn(const GenerateRequest& request);

/// DATA_LOSS for bytes that are no such record. Ranges are left to the engine.
absl::StatusOr<GenerateRequest> DecodeTurn(const std::string& bytes);

}  // namespace fmaserver::service
