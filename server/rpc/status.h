// The only place where absl::Status becomes grpc::Status.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace fmaserver::rpc {

/// Same code, same message: the two enums share their values. A kRetryAfterSeconds payload becomes
/// a google.rpc.RetryInfo in the trailing metadata grpc-status-details-bin.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace fmaserver::rpc
