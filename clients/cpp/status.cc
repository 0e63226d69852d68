#include "clients/cpp/status.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/retry.h"

namespace fmaserver::client {
namespace {

/// The delay in a serialized google.rpc.Status, which any proxy on the way may have written.
std::optional<double> DelayIn(const std::string& details) {
  google::rpc::Status status;
  if (!status.ParseFromString(details)) return std::nullopt;
  google::rpc::RetryInfo info;
  for (const auto& detail : status.details()) {
    if (!detail.Is<google::rpc::RetryInfo>() || !detail.UnpackTo(&info)) continue;
    const double seconds = static_cast<double>(info.retry_delay().seconds()) +
                           static_cast<double>(info.retry_delay().nanos()) / 1e9;
    if (seconds >= 0) return seconds;
  }
  return std::nullopt;
}

}  // namespace

absl::Status FromGrpcStatus(const grpc::Status& status) {
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  if (const auto delay = DelayIn(status.error_details()); delay.has_value() && !result.ok()) {
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
