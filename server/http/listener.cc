#include "server/http/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/refusal.h"

namespace fmaserver::http {
namespace {

absl::StatusOr<std::pair<std::string, std::string>> SplitAddress(const std::string& flag,
                                                                 const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon == std::string::npos ? 0 : colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  const bool digits = port.find_first_not_of("0123456789") == std::string::npos;
  if (host.empty() || port.empty() || port.size() > 5 || !digits || std::stoi(port) > 65535) {
    return Refusal(flag, address, "HOST:PORT with a port from 0 to 65535");
  }
  return std::pair{host, port};
}

absl::Status Unavailable(const std::string& flag, const std::string& address, const char* why) {
  return absl::UnavailableError(absl::StrCat(flag, ": cannot listen on \"", address, "\": ", why));
}

int PortOf(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  if (address.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  }
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

}  // namespace

absl::StatusOr<Listener> Listen(const std::string& flag, const std::string& address) {
  constexpr int kBacklog = 512;
  const auto parts = SplitAddress(flag, address);
  if (!parts.ok()) return parts.status();
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(parts->first.c_str(), parts->second.c_str(), &hints, &found);
  if (error != 0) return Unavailable(flag, address, gai_strerror(error));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  FileDescriptor socket(::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  // So that a restart need not wait until the kernel has forgotten the old connections.
  if (!socket || setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(socket.get(), found->ai_addr, found->ai_addrlen) != 0 ||
      listen(socket.get(), kBacklog) != 0) {
    return Unavailable(flag, address, std::strerror(errno));
  }
  const int port = PortOf(socket.get());
  return Listener{.socket = std::move(socket), .port = port};
}

}  // namespace fmaserver::http
