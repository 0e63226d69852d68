// absl::Status -> grpc::Status, the one place.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace fmaserver {

/// Same code, same message: the two enums share their values. A payload kRetryAfterSeconds (see
/// server/engine/engine.h) becomes a google.rpc.RetryInfo in the trailer grpc-status-details-bin.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace fmaserver
