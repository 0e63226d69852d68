#include "server/rpc/tls.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/ssl.h>

#include "base/refusal.h"

namespace fmaserver::rpc {
namespace {

constexpr unsigned kReloadSeconds = 5;

absl::Status Unusable(const char* option, const std::string& file, const char* wanted) {
  return Refusal(option, file, wanted);
}

/// gRPC itself would only say so at the first connection, and only in its own log.
absl::Status CheckFiles(const service::TlsOptions& options) {
  const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_server_method()),
                                                             SSL_CTX_free);
  if (SSL_CTX_use_certificate_chain_file(context.get(), options.cert.c_str()) != 1) {
    return Unusable("tls-cert", options.cert, "a PEM file with a certificate and its chain");
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), options.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return Unusable("tls-key", options.key, "a PEM file with the certificate's private key");
  }
  if (!options.client_ca.empty() &&
      SSL_CTX_load_verify_file(context.get(), options.client_ca.c_str()) != 1) {
    return Unusable("tls-client-ca", options.client_ca, "a PEM file with certificates");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const service::TlsOptions& options) {
  if (options.cert.empty() && options.key.empty() && options.client_ca.empty()) {
    return grpc::InsecureServerCredentials();
  }
  if (options.cert.empty() || options.key.empty()) {
    return Refusal(options.cert.empty() ? "tls-cert" : "tls-key", Words{"missing"},
                   "both tls-cert and tls-key, or none");
  }
  if (absl::Status status = CheckFiles(options); !status.ok()) return status;
  const bool mutual = !options.client_ca.empty();
  auto files = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      options.key, options.cert, options.client_ca, kReloadSeconds);
  grpc::experimental::TlsServerCredentialsOptions credentials(files);
  credentials.watch_identity_key_cert_pairs();
  if (mutual) {
    credentials.watch_root_certs();
    credentials.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(credentials);
}

}  // namespace fmaserver::rpc
