// The only place where absl::Status becomes an error of HTTP, in the shape that OpenAI's clients
// read.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/openai/exchange.h"

namespace fmaserver::openai {

/// What a status is to a client: HTTP's number, and {"error": {"message", "type", "param",
/// "code"}}. `param` is the field that the message's refusal names. A kRetryAfterSeconds payload
/// becomes Retry-After.
Response ErrorResponse(const absl::Status& status);

/// Answers with it, and ends `call` with it.
void Refuse(const absl::Status& status, service::Call& call, Responder& responder);

/// The same body with a status of HTTP that no absl::Status has, such as 405.
Response ErrorResponse(int http_status, std::string_view message);

/// The body alone, for an error in the middle of a stream.
std::string ErrorBody(const absl::Status& status);

/// HTTP's words for a status: "Not Found".
std::string_view ReasonOf(int http_status);

}  // namespace fmaserver::openai
