// A server's certificate with what belongs to it, read from files and checked.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/tls/tls_options.h"

namespace fmaserver::tls {

/// All that OpenSSL needs, and that it will take. PEM.
struct Certificates {
  std::string chain;      ///< the server's certificate first, then those that vouch for it
  std::string key;        ///< of the server's certificate; without a passphrase
  std::string client_ca;  ///< empty: clients need no certificate
  /// When the first certificate of the chain, or of the authorities, ends. Infinite future for no
  /// authorities.
  absl::Time chain_end = absl::InfiniteFuture();
  absl::Time client_ca_end = absl::InfiniteFuture();

  bool operator==(const Certificates&) const = default;
};

/// Reads the files of `options`, of which `cert` and `key` are named. INVALID_ARGUMENT, or what a
/// file that cannot be read means, with the option, the file and the reason: no certificates in it,
/// a key with a passphrase, which is never asked for, a key of another certificate, or what OpenSSL
/// refuses, such as a key that is too short.
absl::StatusOr<Certificates> ReadCertificates(const TlsOptions& options);

}  // namespace fmaserver::tls
