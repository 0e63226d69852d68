// A listening TCP socket.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "base/file_descriptor.h"

namespace fmaserver::http {

struct Listener {
  FileDescriptor socket;  ///< non-blocking
  int port = 0;
};

/// Listens on `address`, HOST:PORT or [IPV6]:PORT; port 0 takes a free one. INVALID_ARGUMENT for
/// any other text, UNAVAILABLE when the address cannot be listened on. `flag` names the address in
/// messages.
absl::StatusOr<Listener> Listen(const std::string& flag, const std::string& address);

}  // namespace fmaserver::http
