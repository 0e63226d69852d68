// A connection to a store as a stream of bytes, plain or with TLS, on which nothing waits for ever.
#pragma once

#include <openssl/ssl.h>
#include <sys/types.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/file_descriptor.h"
#include "server/sessions/shelf/redis/store_options.h"

namespace fmaserver::sessions {

struct DeleteTls {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* tls) const { SSL_free(tls); }
};

/// What OpenSSL needs to connect, from the files of `options`: the store's certificate must be of a
/// trusted authority. The error names the file.
absl::StatusOr<std::unique_ptr<SSL_CTX, DeleteTls>> MakeTlsContext(const StoreOptions& options);

/// One thread at a time. After an error the stream is of no use. DEADLINE_EXCEEDED when the time is
/// over; UNAVAILABLE for all else.
class Stream {
 public:
  /// Connects, greets with TLS when the address says so, and checks the store's name then.
  static absl::StatusOr<std::unique_ptr<Stream>> Connect(const StoreAddress& address,
                                                         const StoreOptions& options,
                                                         Clock::duration timeout);

  /// From now on so much time is left. Each byte that moves gives some back (kBytesPerSecond), up
  /// to all of it.
  void Allow(Clock::duration timeout) {
    timeout_ = timeout;
    deadline_ = Clock::now() + timeout;
  }

  absl::Status Write(std::string_view bytes);
  /// Reads at least one byte; returns how many.
  absl::StatusOr<size_t> Read(std::span<char> bytes);

  /// Whether nobody has sent anything that was not read, or has ended the connection.
  bool IsQuiet() const;

 private:
  /// What a system call or OpenSSL did: bytes moved, or what to wait for (POLLIN, POLLOUT), or
  /// neither, when it failed.
  struct Step {
    ssize_t bytes = 0;
    short wait = 0;  // NOLINT(google-runtime-int): the type of pollfd
  };

  explicit Stream(FileDescriptor socket) : socket_(std::move(socket)) {}

  absl::Status Greet(const StoreAddress& address, const StoreOptions& options);
  Step TryWrite(std::string_view bytes);
  Step TryRead(std::span<char> bytes);
  Step TlsStep(int result) const;
  absl::Status Wait(short events) const;  // NOLINT(google-runtime-int)
  void Moved(ssize_t bytes);

  FileDescriptor socket_;
  std::unique_ptr<SSL, DeleteTls> tls_;  // null: plain
  Clock::duration timeout_{};
  Clock::time_point deadline_;
};

}  // namespace fmaserver::sessions
