// The request of an interrupted turn, as session files hold it: fma/internal/turn_request.proto.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/service/generate_request.h"

namespace fmaserver::service {

/// The format that these functions write and read, which the session's record names. Format 0 was
/// a message of the API, which only releases before this one took up.
inline constexpr uint32_t kTurnFormat = 1;

/// What a resumed turn needs of `request`: all but the prompt, which is in the session by then, and
/// what is said of the prompt.
std::string EncodeTurn(const GenerateRequest& request);

/// DATA_LOSS for bytes that are no such record. Ranges are left to the engine.
absl::StatusOr<GenerateRequest> DecodeTurn(const std::string& bytes);

}  // namespace fmaserver::service
