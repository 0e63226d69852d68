// The server's certificate, and whether clients need one.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/status/statusor.h"
#include "server/service/door_options.h"

namespace fmaserver::rpc {

/// Credentials for `options`, plain text without a certificate. The files are read again every few
/// seconds, and a new pair is used from the next connection on. INVALID_ARGUMENT names the file
/// that cannot be used, or the option that is missing.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const service::TlsOptions& options);

}  // namespace fmaserver::rpc
