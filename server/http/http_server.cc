#include "server/http/http_server.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

namespace fmaserver::http {

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& address,
                                                              HttpHandler handler) {
  auto listener = net::Listen("http", address);
  if (!listener.ok()) return listener.status();
  FileDescriptor stop(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop) return absl::ResourceExhaustedError("http: no file descriptor is left");
  return std::unique_ptr<HttpServer>(
      new HttpServer(*std::move(listener), std::move(stop), std::move(handler)));
}

HttpServer::HttpServer(net::Listener listener, FileDescriptor stop, HttpHandler handler)
    : listener_(std::move(listener)),
      stop_(std::move(stop)),
      handler_(std::move(handler)),
      thread_([this] { Run(); }) {}

HttpServer::~HttpServer() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_.get(), &one, sizeof one);
  thread_.join();
}

void HttpServer::Run() {
  std::vector<pollfd> polled;
  while (true) {
    polled = {{.fd = stop_.get(), .events = POLLIN, .revents = 0}};
    for (const FileDescriptor& socket : listener_.sockets) {
      polled.push_back({.fd = accepting_ ? socket.get() : -1, .events = POLLIN, .revents = 0});
    }
    const size_t first = polled.size();
    for (const HttpConnection& connection : connections_) {
      polled.push_back({.fd = connection.fd(), .events = connection.Events(), .revents = 0});
    }
    const int timeout = MillisecondsToNextDeadline();
    accepting_ = true;
    if (poll(polled.data(), polled.size(), timeout) < 0) continue;
    if (polled[0].revents != 0) return;
    std::vector<HttpConnection> alive;
    for (size_t i = 0; i < connections_.size(); ++i) {
      if (polled[first + i].revents == 0 || connections_[i].Advance(handler_)) {
        alive.push_back(std::move(connections_[i]));
      }
    }
    connections_ = std::move(alive);
    DropOverdue();
    for (size_t i = 1; i < first; ++i) {
      if (polled[i].revents != 0) Accept(polled[i].fd);
    }
  }
}

void HttpServer::Accept(int listening) {
  // A few at a time, so that those that are open get their turn.
  constexpr int kAtOnce = 64;
  for (int i = 0; i < kAtOnce; ++i) {
    FileDescriptor socket(accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      // Without a descriptor for it the connection stays in the queue, and poll() would report it
      // again at once: wait for the next turn.
      if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
      accepting_ = false;
      if (!connections_.empty()) connections_.erase(connections_.begin());
      return;
    }
    if (connections_.size() >= kMaxConnections) connections_.erase(connections_.begin());
    connections_.emplace_back(std::move(socket));
  }
}

void HttpServer::DropOverdue() {
  const auto now = HttpConnection::Clock::now();
  std::erase_if(connections_,
                [now](const HttpConnection& connection) { return connection.deadline() <= now; });
}

int HttpServer::MillisecondsToNextDeadline() const {
  constexpr int kRetryAccept = 50;
  if (!accepting_) return kRetryAccept;
  if (connections_.empty()) return -1;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      connections_.front().deadline() - HttpConnection::Clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count() + 1, 0, 60'000));
}

}  // namespace fmaserver::http
