// Plain clients of a listener.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/file_descriptor.h"
#include "server/net/listener.h"
#include "server/net/socket_address.h"

namespace fmaserver::testing {

/// Connected to what `listening` listens on; empty when that fails.
inline FileDescriptor ConnectTo(int listening) {
  net::SocketAddress address = net::LocalAddress(listening);
  FileDescriptor socket(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(socket.get(), address.get(), address.size) != 0) return {};
  return socket;
}

/// The next connection of `listening`, which is waiting.
inline FileDescriptor AcceptFrom(int listening) {
  pollfd waiting{.fd = listening, .events = POLLIN, .revents = 0};
  poll(&waiting, 1, 10'000);
  return FileDescriptor(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
}

/// Whether the other side closes `socket` within 10 s, without a byte.
inline bool IsClosed(const FileDescriptor& socket) {
  pollfd closed{.fd = socket.get(), .events = POLLIN, .revents = 0};
  char byte = 0;
  return poll(&closed, 1, 10'000) == 1 && recv(socket.get(), &byte, 1, 0) <= 0;
}

}  // namespace fmaserver::testing
