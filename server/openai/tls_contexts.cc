#include "server/openai/tls_contexts.h"

#include <openssl/ssl.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/context.hpp>
#include <string>
#include <utility>

#include "base/text.h"

namespace fmaserver::openai {
namespace {

namespace ssl = boost::asio::ssl;

absl::StatusOr<std::shared_ptr<ssl::context>> MakeContext(const tls::Certificates& certificates) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 |
                       ssl::context::no_sslv3 | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1);
  // Thousands of idle connections need no buffers.
  SSL_CTX_set_mode(context->native_handle(), SSL_MODE_RELEASE_BUFFERS);
  boost::system::error_code error;
  context->use_certificate_chain(boost::asio::buffer(certificates.chain), error);
  if (!error)
    context->use_private_key(boost::asio::buffer(certificates.key), ssl::context::pem, error);
  if (!error && !certificates.client_ca.empty()) {
    context->add_certificate_authority(boost::asio::buffer(certificates.client_ca), error);
    if (!error) {
      context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert, error);
    }
  }
  if (error) return absl::InternalError(Concat("tls-cert: OpenSSL: ", error.message()));
  return context;
}

}  // namespace

absl::StatusOr<TlsContexts> TlsContexts::Create(
    std::shared_ptr<const tls::CertificateWatch> watch) {
  TlsContexts contexts(std::move(watch));
  if (contexts.watch_ == nullptr) return contexts;
  contexts.made_of_ = contexts.watch_->current();
  auto made = MakeContext(*contexts.made_of_);
  if (!made.ok()) return made.status();
  contexts.context_ = *std::move(made);
  return contexts;
}

std::shared_ptr<ssl::context> TlsContexts::current() {
  if (watch_ == nullptr) return nullptr;
  auto certificates = watch_->current();
  if (certificates != made_of_) {
    made_of_ = std::move(certificates);
    // What OpenSSL does not take leaves the old ones in use, as with the watch.
    if (auto made = MakeContext(*made_of_); made.ok()) context_ = *std::move(made);
  }
  return context_;
}

}  // namespace fmaserver::openai
