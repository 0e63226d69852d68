#include "server/net/listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/net/socket_address.h"

namespace fmaserver::net {
namespace {

absl::Status Unavailable(const std::string& flag, const std::string& address, int error) {
  return absl::UnavailableError(
      absl::StrCat(flag, ": cannot listen on \"", address, "\": ", std::strerror(error)));
}

bool SetOption(int socket, int level, int option, int value) {
  return setsockopt(socket, level, option, &value, sizeof value) == 0;
}

/// Sets what connections inherit. For wildcards: whether IPv4 comes to an IPv6 socket.
bool Prepare(int socket, const SocketAddress& address) {
  if (address.family() == AF_UNIX) return true;
  // A restart need not wait until the kernel forgets the old connections.
  return SetOption(socket, SOL_SOCKET, SO_REUSEADDR, 1) &&
         SetOption(socket, IPPROTO_TCP, TCP_NODELAY, 1) &&
         (address.family() != AF_INET6 ||
          SetOption(socket, IPPROTO_IPV6, IPV6_V6ONLY, IsWildcard(address) ? 0 : 1));
}

/// Empty when that fails, with errno.
FileDescriptor ListenOn(const SocketAddress& address) {
  FileDescriptor socket(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (socket && Prepare(socket.get(), address) &&
      bind(socket.get(), address.get(), address.size) == 0 &&
      listen(socket.get(), SOMAXCONN) == 0) {
    return socket;
  }
  const int error = errno;  // which closing the socket may change
  socket = FileDescriptor();
  errno = error;
  return socket;
}

/// An address that a name has, and this machine has not: localhost is ::1 also without IPv6.
bool IsMissing(int error) { return error == EADDRNOTAVAIL || error == EAFNOSUPPORT; }

absl::StatusOr<Listener> ListenOnWildcard(const std::string& flag, const std::string& text,
                                          const SocketAddress& address) {
  FileDescriptor socket = ListenOn(AnyAddress(PortOf(address)));
  if (!socket && IsMissing(errno)) socket = ListenOn(address);  // a machine without IPv6
  if (!socket) return Unavailable(flag, text, errno);
  Listener listener;
  listener.port = PortOf(LocalAddress(socket.get()));
  listener.sockets.push_back(std::move(socket));
  return listener;
}

absl::StatusOr<Listener> ListenOnTcp(const std::string& flag, const std::string& text) {
  auto addresses = Resolve(flag, text);
  if (!addresses.ok()) return addresses.status();
  if (IsWildcard(addresses->front())) return ListenOnWildcard(flag, text, addresses->front());
  Listener listener;
  int missing = 0;
  for (SocketAddress& address : *addresses) {
    if (PortOf(address) == 0) SetPort(address, listener.port);
    FileDescriptor socket = ListenOn(address);
    if (!socket && !IsMissing(errno)) return Unavailable(flag, text, errno);
    if (!socket) {
      missing = errno;
      continue;
    }
    listener.port = PortOf(LocalAddress(socket.get()));
    listener.sockets.push_back(std::move(socket));
  }
  if (listener.sockets.empty()) return Unavailable(flag, text, missing);
  return listener;
}

bool SomebodyListensOn(const SocketAddress& address) {
  const FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  return connect(socket.get(), address.get(), address.size) == 0 || errno == EAGAIN;
}

/// Makes room where a server that was killed left its socket.
void RemoveOldSocket(const std::string& path, const SocketAddress& address) {
  struct stat info;
  const bool is_socket = lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode);
  if (is_socket && !SomebodyListensOn(address)) unlink(path.c_str());
}

absl::StatusOr<Listener> ListenOnUnix(const std::string& flag, const std::string& text,
                                      const std::string& path, bool abstract) {
  const auto address = UnixAddress(flag, path, abstract);
  if (!address.ok()) return address.status();
  if (!abstract) RemoveOldSocket(path, *address);
  Listener listener;
  listener.sockets.push_back(ListenOn(*address));
  if (!listener.sockets.front()) return Unavailable(flag, text, errno);
  if (!abstract) listener.file = SocketFile(path);
  return listener;
}

}  // namespace

SocketFile::~SocketFile() {
  if (!path_.empty()) unlink(path_.c_str());
}

absl::StatusOr<Listener> Listen(const std::string& flag, const std::string& address) {
  absl::string_view name = address;
  if (absl::ConsumePrefix(&name, "unix:")) {
    return ListenOnUnix(flag, address, std::string(name), /*abstract=*/false);
  }
  if (absl::ConsumePrefix(&name, "unix-abstract:")) {
    return ListenOnUnix(flag, address, std::string(name), /*abstract=*/true);
  }
  return ListenOnTcp(flag, address);
}

}  // namespace fmaserver::net
