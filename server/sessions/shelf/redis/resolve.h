// Names of hosts, looked up within a time.
#pragma once

#include <netdb.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"

namespace fmaserver::sessions {

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, FreeAddresses>;

/// Where to connect for TCP, in the resolver's order. DEADLINE_EXCEEDED, or UNAVAILABLE when there
/// is no such host. The system's resolver cannot be interrupted, so a name is looked up on a thread
/// of its own, which may outlive the call.
absl::StatusOr<AddressList> Resolve(const std::string& host, int port, Clock::time_point deadline);

}  // namespace fmaserver::sessions
