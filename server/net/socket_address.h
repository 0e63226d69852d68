// What an address in words means to the kernel.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace fmaserver::net {

struct SocketAddress {
  sockaddr_storage bytes = {};
  socklen_t size = 0;

  int family() const { return bytes.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&bytes); }
};

bool operator==(const SocketAddress& a, const SocketAddress& b);

/// Those of HOST:PORT or [IPV6]:PORT, each once. INVALID_ARGUMENT for what is no such address,
/// UNAVAILABLE for a host without one. `flag` names it in messages.
absl::StatusOr<std::vector<SocketAddress>> Resolve(const std::string& flag,
                                                   const std::string& address);

/// The address of a Unix socket at `path`, or abstract, of that name. INVALID_ARGUMENT when it is
/// empty or too long.
absl::StatusOr<SocketAddress> UnixAddress(const std::string& flag, const std::string& path,
                                          bool abstract);

/// The TCP port; 0 for a Unix socket.
int PortOf(const SocketAddress& address);
void SetPort(SocketAddress& address, int port);

/// Whether it stands for every address of the machine.
bool IsWildcard(const SocketAddress& address);

/// [::] with this port, which takes IPv4 too where a socket lets it.
SocketAddress AnyAddress(int port);

/// Whom a connection from there counts for: the four bytes of an IPv4 address, mapped into IPv6 or
/// not, or the first eight of an IPv6 address, since a host may take any of its /64. Empty for a
/// Unix socket.
std::string HostOf(const SocketAddress& address);

/// The local and the other end of `socket`; empty where there is none.
SocketAddress LocalAddress(int socket);
SocketAddress PeerAddress(int socket);

}  // namespace fmaserver::net
