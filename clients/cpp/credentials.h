// How a client proves its identity and verifies the server.
#pragma once

#include <grpcpp/security/credentials.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace fmaserver::client {

/// Names of PEM files; any of them turns TLS on.
struct ClientTls {
  bool on = false;   ///< TLS with the system's authorities when `ca` is empty
  std::string ca;    ///< authorities that the server's certificate must come from
  std::string cert;  ///< the client's own chain, for servers that ask for one
  std::string key;   ///< its private key
};

/// The contents of the files; absent: plain text. NOT_FOUND or INVALID_ARGUMENT names the file or
/// the option. It starts no thread, as any object of gRPC would.
absl::StatusOr<std::optional<grpc::SslCredentialsOptions>> ReadTls(const ClientTls& tls);

std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(
    const std::optional<grpc::SslCredentialsOptions>& tls);

}  // namespace fmaserver::client
