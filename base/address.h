// Network addresses as users write them: HOST:PORT.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fmaserver {

struct HostPort {
  std::string host;  ///< a name or an address, IPv6 without its brackets
  int port = 0;      ///< 0 to 65535
};

/// "HOST:PORT" or "[IPV6]:PORT". INVALID_ARGUMENT says what is wrong with `what`, an option's name.
absl::StatusOr<HostPort> ParseHostPort(std::string_view what, std::string_view text);

}  // namespace fmaserver
