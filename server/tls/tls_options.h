// Where a door's certificates are.
#pragma once

#include <string>

namespace fmaserver::tls {

/// Names of PEM files.
struct TlsOptions {
  std::string cert;       ///< the server's chain; empty: no TLS
  std::string key;        ///< its private key
  std::string client_ca;  ///< clients need a certificate of these; empty: they need none
};

}  // namespace fmaserver::tls
