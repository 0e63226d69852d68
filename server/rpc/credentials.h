// What gRPC asks of connections: TLS with certificates that are renewed, or nothing.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "server/tls/certificate_watch.h"

namespace fmaserver::rpc {

/// Each connection is greeted with the certificates that `watch` has then. Null: plain text.
std::shared_ptr<grpc::ServerCredentials> CredentialsOf(
    std::shared_ptr<const tls::CertificateWatch> watch);

}  // namespace fmaserver::rpc
