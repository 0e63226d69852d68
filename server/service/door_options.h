// How a door listens, whatever it speaks.
#pragma once

#include <string>

#include "server/tls/tls_options.h"

namespace fmaserver::service {

struct DoorOptions {
  std::string listen = "127.0.0.1:50051";    ///< as net::Listen takes it
  int max_streams = 1024;                    ///< calls at once of one connection; more wait
  int max_connections = 0;                   ///< at once; 0: what the limit of descriptors allows
  int max_connections_per_address = 0;       ///< the same of one peer; 0: half of max_connections
  double max_connection_idle_seconds = 300;  ///< without a call; 0: for ever
  double max_connection_age_seconds = 0;     ///< then no new calls on it; 0: for ever
  double max_connection_age_grace_seconds = 0;  ///< for calls of the old; 0: what they take
  tls::TlsOptions tls = {};
};

}  // namespace fmaserver::service
