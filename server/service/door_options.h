// How a door listens, whatever it speaks.
#pragma once

#include <string>

namespace fmaserver::service {

/// Names of PEM files.
struct TlsOptions {
  std::string cert;       ///< the server's chain; empty: no TLS
  std::string key;        ///< its private key
  std::string client_ca;  ///< clients need a certificate of these; empty: they need none
};

struct DoorOptions {
  std::string listen = "127.0.0.1:50051";    ///< HOST:PORT; port 0 takes a free one
  int max_request_bytes = 32 * 1024 * 1024;  ///< larger requests get RESOURCE_EXHAUSTED
  int max_streams = 1024;                    ///< calls at once of one connection; more wait
  TlsOptions tls = {};
};

}  // namespace fmaserver::service
