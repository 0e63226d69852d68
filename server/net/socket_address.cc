#include "server/net/socket_address.h"

#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/address.h"
#include "base/refusal.h"

namespace fmaserver::net {
namespace {

const sockaddr_in& AsIpv4(const SocketAddress& address) {
  return reinterpret_cast<const sockaddr_in&>(address.bytes);
}
const sockaddr_in6& AsIpv6(const SocketAddress& address) {
  return reinterpret_cast<const sockaddr_in6&>(address.bytes);
}

using AddressOfSocket = int (*)(int, sockaddr*, socklen_t*);

SocketAddress Ask(int socket, AddressOfSocket question) {
  SocketAddress address;
  address.size = sizeof address.bytes;
  return question(socket, address.get(), &address.size) == 0 ? address : SocketAddress{};
}

}  // namespace

bool operator==(const SocketAddress& a, const SocketAddress& b) {
  return a.size == b.size && std::memcmp(&a.bytes, &b.bytes, a.size) == 0;
}

absl::StatusOr<std::vector<SocketAddress>> Resolve(const std::string& flag,
                                                   const std::string& address) {
  const auto parts = ParseHostPort(flag, address);
  if (!parts.ok()) return parts.status();
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(parts->host.c_str(), std::to_string(parts->port).c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat(flag, ": cannot listen on \"", address, "\": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  std::vector<SocketAddress> addresses;
  for (const addrinfo* next = found; next != nullptr; next = next->ai_next) {
    SocketAddress one;
    one.size = next->ai_addrlen;
    std::memcpy(&one.bytes, next->ai_addr, next->ai_addrlen);
    // /etc/hosts may name an address twice, which cannot be listened on twice.
    if (std::ranges::find(addresses, one) == addresses.end()) addresses.push_back(one);
  }
  return addresses;
}

absl::StatusOr<SocketAddress> UnixAddress(const std::string& flag, const std::string& path,
                                          bool abstract) {
  SocketAddress address;
  auto& bytes = reinterpret_cast<sockaddr_un&>(address.bytes);
  constexpr size_t kMaxPath = sizeof bytes.sun_path - 1;
  if (path.empty() || path.size() > kMaxPath) {
    return Refusal(flag, path, absl::StrCat("a name of 1 to ", kMaxPath, " bytes for the socket"));
  }
  bytes.sun_family = AF_UNIX;
  // The zero in front of an abstract name, or behind a path.
  path.copy(bytes.sun_path + (abstract ? 1 : 0), path.size());
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + path.size());
  return address;
}

int PortOf(const SocketAddress& address) {
  if (address.family() == AF_INET6) return ntohs(AsIpv6(address).sin6_port);
  return address.family() == AF_INET ? ntohs(AsIpv4(address).sin_port) : 0;
}

void SetPort(SocketAddress& address, int port) {
  const in_port_t ordered = htons(static_cast<uint16_t>(port));
  if (address.family() == AF_INET6) {
    reinterpret_cast<sockaddr_in6&>(address.bytes).sin6_port = ordered;
  } else {
    reinterpret_cast<sockaddr_in&>(address.bytes).sin_port = ordered;
  }
}

bool IsWildcard(const SocketAddress& address) {
  if (address.family() == AF_INET) return AsIpv4(address).sin_addr.s_addr == htonl(INADDR_ANY);
  return address.family() == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&AsIpv6(address).sin6_addr);
}

SocketAddress AnyAddress(int port) {
  SocketAddress address;
  address.size = sizeof(sockaddr_in6);
  address.bytes.ss_family = AF_INET6;  // the rest is zero, as in6addr_any
  SetPort(address, port);
  return address;
}

std::string HostOf(const SocketAddress& address) {
  if (address.family() == AF_INET) {
    return {reinterpret_cast<const char*>(&AsIpv4(address).sin_addr), 4};
  }
  if (address.family() != AF_INET6) return {};
  const in6_addr& ipv6 = AsIpv6(address).sin6_addr;
  const char* bytes = reinterpret_cast<const char*>(&ipv6);
  return IN6_IS_ADDR_V4MAPPED(&ipv6) ? std::string(bytes + 12, 4) : std::string(bytes, 8);
}

SocketAddress LocalAddress(int socket) { return Ask(socket, getsockname); }
SocketAddress PeerAddress(int socket) { return Ask(socket, getpeername); }

}  // namespace fmaserver::net
