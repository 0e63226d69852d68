#include "server/rpc/status.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <cmath>
#include <string>

#include "absl/strings/numbers.h"
#include "server/engine/engine.h"

namespace fmaserver {
namespace {

static_assert(static_cast<int>(absl::StatusCode::kCancelled) == grpc::StatusCode::CANCELLED);
static_assert(static_cast<int>(absl::StatusCode::kUnauthenticated) ==
              grpc::StatusCode::UNAUTHENTICATED);

/// A serialized google.rpc.Status; empty when there is nothing to say beyond code and message.
std::string Details(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryAfterSeconds);
  double seconds = 0;
  if (!payload || !absl::SimpleAtod(std::string(*payload), &seconds)) return {};
  constexpr double kNanosecondsPerSecond = 1e9;
  google::rpc::RetryInfo retry;
  const double whole = std::floor(seconds);
  retry.mutable_retry_delay()->set_seconds(static_cast<int64_t>(whole));
  retry.mutable_retry_delay()->set_nanos(
      static_cast<int32_t>((seconds - whole) * kNanosecondsPerSecond));
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
          Details(status)};
}

}  // namespace fmaserver
