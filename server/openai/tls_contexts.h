// The certificates in use, as OpenSSL takes them.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "server/tls/certificate_watch.h"

namespace boost::asio::ssl {
class context;
}

namespace fmaserver::openai {

/// Made anew when the certificates are. Used by one thread at a time.
class TlsContexts {
 public:
  /// `watch` null: connections are plain. INTERNAL for certificates that OpenSSL does not take,
  /// though the watch has found them good.
  static absl::StatusOr<TlsContexts> Create(std::shared_ptr<const tls::CertificateWatch> watch);

  /// What the next connection is greeted with; null: it is plain.
  std::shared_ptr<boost::asio::ssl::context> current();

 private:
  explicit TlsContexts(std::shared_ptr<const tls::CertificateWatch> watch)
      : watch_(std::move(watch)) {}

  std::shared_ptr<const tls::CertificateWatch> watch_;
  std::shared_ptr<const tls::Certificates> made_of_;
  std::shared_ptr<boost::asio::ssl::context> context_;
};

}  // namespace fmaserver::openai
