#include "clients/cpp/status.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/retry.h"
#include "proto/retry_delay.h"

namespace fmaserver::client {
absl::Status FromGrpcStatus(const grpc::Status& status) {
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  if (const auto delay = RetryDelayIn(status.error_details()); delay.has_value() && !result.ok()) {
    result.SetPayload(kRetryAfterSeconds, absl::Cord(absl::StrCat(*delay)));
  }
  return result;
}

std::optional<double> RetryAfterSeconds(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryAfterSeconds);
  double seconds = 0;
  if (!payload.has_value() || !absl::SimpleAtod(std::string(*payload), &seconds)) {
    return std::nullopt;
  }
  return seconds;
}

}  // namespace fmaserver::client
