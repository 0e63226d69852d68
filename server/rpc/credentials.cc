#include "server/rpc/credentials.h"

#include <grpc/grpc_security.h>

#include <string>
#include <utility>

namespace fmaserver::rpc {
namespace {

using tls::Certificates;
using tls::CertificateWatch;

/// gRPC's own watcher of files takes what it finds there, whether it fits or not. This asks for the
/// certificates before each handshake, which takes the same ones until there are new ones that fit.
class FreshCredentials final : public grpc::ServerCredentials {
 public:
  explicit FreshCredentials(std::shared_ptr<const CertificateWatch> watch)
      : watch_(std::move(watch)),
        credentials_(grpc_ssl_server_credentials_create_with_options(
            grpc_ssl_server_credentials_create_options_using_config_fetcher(
                watch_->current()->client_ca.empty()
                    ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                    : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY,
                &FreshCredentials::Fetch, this))) {}
  ~FreshCredentials() override { grpc_server_credentials_release(credentials_); }

  /// Tokens are read where calls begin; nobody sets a processor.
  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>& /*processor*/) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  /// gRPC calls this before each handshake, one at a time.
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config) {
    auto& credentials = *static_cast<FreshCredentials*>(self);
    std::shared_ptr<const Certificates> current = credentials.watch_->current();
    if (current == credentials.fetched_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair{.private_key = current->key.c_str(),
                                          .cert_chain = current->chain.c_str()};
    // gRPC wants authorities also where it asks clients for nothing.
    const std::string& client_ca = current->client_ca.empty() ? current->chain : current->client_ca;
    *config = grpc_ssl_server_certificate_config_create(client_ca.c_str(), &pair, 1);
    credentials.fetched_ = std::move(current);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const std::shared_ptr<const CertificateWatch> watch_;
  std::shared_ptr<const Certificates> fetched_;  // only in Fetch
  grpc_server_credentials* const credentials_;
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> CredentialsOf(
    std::shared_ptr<const CertificateWatch> watch) {
  if (watch == nullptr) return grpc::InsecureServerCredentials();
  return std::make_shared<FreshCredentials>(std::move(watch));
}

}  // namespace fmaserver::rpc
