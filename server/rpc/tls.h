// The server's certificate, and whether clients need one.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace fmaserver::rpc {

/// Names of PEM files.
struct TlsOptions {
  std::string cert;       ///< the server's chain; empty: no TLS
  std::string key;        ///< its private key
  std::string client_ca;  ///< clients need a certificate of these; empty: they need none
};

/// Credentials for `options`, plain text without a certificate. The files are read again every few
/// seconds, and a new pair is used from the next connection on. INVALID_ARGUMENT names the file
/// that cannot be used, or the option that is missing.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const TlsOptions& options);

}  // namespace fmaserver::rpc
