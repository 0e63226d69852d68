#include "server/rpc/status.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <cmath>
#include <string>

#include "absl/strings/numbers.h"
#include "base/retry.h"

namespace fmaserver::rpc {
namespace {

static_assert(static_cast<int>(absl::StatusCode::kCancelled) == grpc::StatusCode::CANCELLED);
static_assert(static_cast<int>(absl::StatusCode::kUnauthenticated) ==
              grpc::StatusCode::UNAUTHENTICATED);

/// The bytes of grpc-status-details-bin: empty, or a google.rpc.Status that holds a RetryInfo.
std::string RetryDetails(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryAfterSeconds);
  double seconds = 0;
  if (!payload.has_value() || !absl::SimpleAtod(std::string(*payload), &seconds) ||
      !(seconds >= 0 && seconds < 1e9)) {
    return {};
  }
  google::rpc::RetryInfo retry;
  const double whole = std::floor(seconds);
  retry.mutable_retry_delay()->set_seconds(static_cast<int64_t>(whole));
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>((seconds - whole) * 1e9));
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  details.add_details()->PackFrom(retry);
  return details.SerializeAsString();
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
          RetryDetails(status)};
}

}  // namespace fmaserver::rpc
