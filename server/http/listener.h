// A file descriptor that closes itself, and a listening TCP socket.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace fmaserver {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

struct Listener {
  FileDescriptor socket;  ///< non-blocking
  int port = 0;
};

/// Listens on `address`, HOST:PORT or [IPV6]:PORT; port 0 takes a free one. INVALID_ARGUMENT for
/// what is no such address, UNAVAILABLE when it cannot be had. `flag` names it in messages.
absl::StatusOr<Listener> Listen(const std::string& flag, const std::string& address);

}  // namespace fmaserver
