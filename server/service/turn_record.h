// The request of an interrupted turn, as session files hold it: fma/internal/turn_request.proto,
// which the sessions call RequestFormat::kServiceRecord.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/service/generate_request.h"

namespace fmaserver::service {

/// Encodes what a resumed turn needs of `request`: everything except the prompt, which is in the
/// session by then, and the options that concern only the prompt.
std::string EncodeTurn(const GenerateRequest& request);

/// DATA_LOSS for bytes that are not such a record. The engine checks the ranges.
absl::StatusOr<GenerateRequest> DecodeTurn(const std::string& bytes);

}  // namespace fmaserver::service
