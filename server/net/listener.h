// Listening sockets: TCP, on every address of a name, and Unix sockets.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/file_descriptor.h"

namespace fmaserver::net {

/// Removes a Unix socket from the file system when it goes. Movable; empty when moved from.
class SocketFile {
 public:
  SocketFile() = default;
  explicit SocketFile(std::string path) : path_(std::move(path)) {}
  ~SocketFile();
  SocketFile(SocketFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  SocketFile& operator=(SocketFile&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }

 private:
  std::string path_;
};

struct Listener {
  std::vector<FileDescriptor> sockets;  ///< non-blocking; at least one
  int port = 0;                         ///< of all of them; 0: a Unix socket
  SocketFile file;                      ///< empty: none
};

/// Listens on `address`, one of
///   HOST:PORT or [IPV6]:PORT  every address that HOST has on this machine; port 0 takes a free
///   one.
///                             0.0.0.0 and [::] are every IPv4 and IPv6 address.
///   unix:PATH                 a file; one that nobody listens on any more is replaced
///   unix-abstract:NAME
/// INVALID_ARGUMENT for what is no such address, UNAVAILABLE when it cannot be had. `flag` names it
/// in messages.
absl::StatusOr<Listener> Listen(const std::string& flag, const std::string& address);

}  // namespace fmaserver::net
