// An HTTP server for probes and scrapes, made to stay answerable whatever connects to it.
//
// One thread waits for all connections. Each serves one request and lives for 5 s at most; when
// kMaxConnections are open, a new one replaces the oldest. So idle, slow or broken clients do not
// keep a probe waiting, and the memory that they take is bounded.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "server/http/connection.h"
#include "server/net/listener.h"

namespace fmaserver::http {

/// The destructor closes all connections.
class HttpServer {
 public:
  static constexpr size_t kMaxConnections = 256;

  /// `handler` is called on the server's thread and answers every path. Errors as of net::Listen.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& address,
                                                           HttpHandler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const { return listener_.port; }

 private:
  HttpServer(net::Listener listener, FileDescriptor stop, HttpHandler handler);

  // The server's thread.
  void Run();
  void Accept(int listening);
  void DropOverdue();
  int MillisecondsToNextDeadline() const;

  const net::Listener listener_;
  const FileDescriptor stop_;  // an eventfd: readable when the thread shall end
  const HttpHandler handler_;
  std::vector<HttpConnection> connections_;  // oldest first
  bool accepting_ = true;                    // false while the process has no descriptor left
  std::thread thread_;
};

}  // namespace fmaserver::http
