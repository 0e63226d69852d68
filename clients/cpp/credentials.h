// How a client proves who it is and knows the server.
#pragma once

#include <grpcpp/security/credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace fmaserver {

/// Names of PEM files; any of them turns TLS on.
struct ClientTls {
  bool on = false;   ///< TLS with the system's authorities when `ca` is empty
  std::string ca;    ///< authorities that the server's certificate must come from
  std::string cert;  ///< the client's own chain, for servers that ask for one
  std::string key;   ///< its private key
};

/// Plain text without TLS. NOT_FOUND or INVALID_ARGUMENT names the file or the option.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(
    const ClientTls& tls);

}  // namespace fmaserver
