#include "server/openai/errors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "base/retry.h"
#include "base/text.h"
#include "nlohmann/json.hpp"

namespace fmaserver::openai {
namespace {

struct ErrorKind {
  int status;
  const char* reason;
  const char* type;
  const char* code;  // null: none of its own
};

constexpr const char* kInvalid = "invalid_request_error";

constexpr std::array kErrors = {
    ErrorKind{400, "Bad Request", kInvalid, nullptr},
    ErrorKind{401, "Unauthorized", "authentication_error", "invalid_api_key"},
    ErrorKind{403, "Forbidden", "permission_error", nullptr},
    ErrorKind{404, "Not Found", kInvalid, "not_found"},
    ErrorKind{405, "Method Not Allowed", kInvalid, nullptr},
    ErrorKind{408, "Request Timeout", kInvalid, nullptr},
    ErrorKind{409, "Conflict", kInvalid, nullptr},
    ErrorKind{413, "Content Too Large", kInvalid, nullptr},
    ErrorKind{415, "Unsupported Media Type", kInvalid, nullptr},
    ErrorKind{429, "Too Many Requests", "rate_limit_error", "rate_limit_exceeded"},
    ErrorKind{431, "Request Header Fields Too Large", kInvalid, nullptr},
    ErrorKind{500, "Internal Server Error", "server_error", nullptr},
    ErrorKind{501, "Not Implemented", kInvalid, nullptr},
    ErrorKind{503, "Service Unavailable", "overloaded_error", nullptr},
};

const ErrorKind& KindOf(int status) {
  const auto* const found =
      std::ranges::find_if(kErrors, [&](const ErrorKind& kind) { return kind.status == status; });
  return found == kErrors.end() ? KindOf(500) : *found;
}

int HttpStatusOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
      return 503;
    default:
      return 500;
  }
}

/// The field that a message of base/refusal.h begins with; absent: it names none.
std::optional<std::string> FieldOf(std::string_view message) {
  const std::string_view name = message.substr(0, message.find(" is "));
  const bool is_field =
      name.size() < message.size() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
        return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '[' || c == ']';
      });
  return is_field ? std::optional<std::string>(name) : std::nullopt;
}

std::string BodyOf(const ErrorKind& kind, std::string_view message) {
  nlohmann::ordered_json error;
  error["message"] = message;
  error["type"] = kind.type;
  error["param"] = nullptr;
  error["code"] = nullptr;
  const bool is_previous = kind.status == 404 && message.starts_with("previous_response_id");
  const auto field = kind.status == 400 || is_previous ? FieldOf(message) : std::nullopt;
  if (field.has_value()) error["param"] = *field;
  if (kind.code != nullptr) error["code"] = kind.code;
  if (kind.status == 404 && message.starts_with("model")) error["code"] = "model_not_found";
  if (is_previous) error["code"] = "previous_response_not_found";
  return nlohmann::ordered_json{{"error", std::move(error)}}.dump(
      -1, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace);
}

/// Whole seconds, at least one, as HTTP wants them.
std::optional<std::string> RetryAfter(const absl::Status& status) {
  if (absl::IsUnavailable(status)) return "1";
  const auto payload = status.GetPayload(kRetryAfterSeconds);
  double seconds = 0;
  if (!payload.has_value() || !absl::SimpleAtod(std::string(*payload), &seconds) ||
      !(seconds >= 0 && seconds < 1e9)) {
    return std::nullopt;
  }
  return Concat(static_cast<int64_t>(std::max(1.0, std::ceil(seconds))));
}

}  // namespace

Response ErrorResponse(int http_status, std::string_view message) {
  Response response;
  response.status = http_status;
  response.body = BodyOf(KindOf(http_status), message);
  if (http_status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

Response ErrorResponse(const absl::Status& status) {
  const absl::string_view message = status.message();
  Response response =
      ErrorResponse(HttpStatusOf(status.code()), std::string_view(message.data(), message.size()));
  if (const auto seconds = RetryAfter(status))
    response.headers.emplace_back("Retry-After", *seconds);
  return response;
}

void Refuse(const absl::Status& status, service::Call& call, Responder& responder) {
  call.SetStatus(status);
  responder.Answer(ErrorResponse(status));
}

std::string ErrorBody(const absl::Status& status) { return ErrorResponse(status).body; }

std::string_view ReasonOf(int http_status) {
  return http_status == 200 ? "OK" : KindOf(http_status).reason;
}

}  // namespace fmaserver::openai
