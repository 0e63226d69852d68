// The HTTP proxy that gRPC sends calls through, which its errors do not name.
#pragma once

#include <string>

namespace fmaserver::client {

/// What the message of a failed call to `address` needs besides; empty: the environment names no
/// proxy for it.
std::string ProxyHint(const std::string& address);

}  // namespace fmaserver::client
