// One HTTP connection of the server: it reads a request, writes an answer, and closes.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/file_descriptor.h"
#include "server/http/request_head.h"

namespace fmaserver::http {

using HttpHandler = std::function<HttpResponse(const std::string& path)>;

/// Never blocks. Used by one thread.
class HttpConnection {
 public:
  using Clock = std::chrono::steady_clock;

  /// How long a connection may last.
  static constexpr std::chrono::seconds kLifetime{5};

  /// `socket` is non-blocking.
  explicit HttpConnection(FileDescriptor socket)
      : socket_(std::move(socket)), deadline_(Clock::now() + kLifetime) {}

  int fd() const { return socket_.get(); }
  Clock::time_point deadline() const { return deadline_; }
  /// The poll() events that the connection waits for.
  short Events() const;

  /// Goes on after poll() returned events; false when the connection is over.
  bool Advance(const HttpHandler& handler);

 private:
  enum class State { kReading, kWriting, kClosing };

  bool Read(const HttpHandler& handler);
  bool Write();
  bool AwaitClose();

  FileDescriptor socket_;
  Clock::time_point deadline_;
  State state_ = State::kReading;
  std::string received_;
  std::string answer_;
  size_t written_ = 0;
};

}  // namespace fmaserver::http
