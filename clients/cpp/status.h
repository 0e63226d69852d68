// How a call ended: gRPC's status as absl's.
#pragma once

#include <grpcpp/support/status.h>

#include <optional>

#include "absl/status/status.h"

namespace fmaserver::client {

/// Keeps code and message. The delay of the server's google.rpc.RetryInfo becomes the payload
/// kRetryAfterSeconds (base/retry.h), the same that the server knows it by.
absl::Status FromGrpcStatus(const grpc::Status& status);

/// The seconds after which the server wants the call to be tried again; absent when it did not say.
std::optional<double> RetryAfterSeconds(const absl::Status& status);

}  // namespace fmaserver::client
