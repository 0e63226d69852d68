// The OpenAI door: HTTP/1.1 with the routes that OpenAI's clients know, on a port of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/net/acceptor.h"
#include "server/net/connection_table.h"
#include "server/openai/hall.h"
#include "server/openai/loop.h"
#include "server/openai/router.h"
#include "server/openai/tls_contexts.h"
#include "server/service/door_options.h"
#include "server/service/service.h"
#include "server/tls/certificate_watch.h"

namespace fmaserver::openai {

/// Thread-safe. The destructor ends running calls at once.
class OpenAiServer {
 public:
  /// Serves `service`, which outlives the server, on `options.listen`. `connections` are counted
  /// together with those of other doors; `certificates` null: plain text. UNAVAILABLE when the
  /// address cannot be had.
  static absl::StatusOr<std::unique_ptr<OpenAiServer>> Start(
      service::Service& service, const service::DoorOptions& options,
      std::shared_ptr<net::ConnectionTable> connections,
      std::shared_ptr<const tls::CertificateWatch> certificates, const Patience& patience = {});
  /// What bodies under way, and answers that are sent only when they are whole, take at most, all
  /// connections together, where a request has up to `request_bytes`.
  static int64_t BufferBytes(int64_t request_bytes);
  ~OpenAiServer();
  OpenAiServer(const OpenAiServer&) = delete;
  OpenAiServer& operator=(const OpenAiServer&) = delete;

  /// As net::Listener's.
  int port() const { return port_; }

  /// /health says from now on that the server takes nothing new, and each answer is the last one of
  /// its connection.
  void Drain();

  /// Accepts no new connections, waits up to `grace` for running answers, then ends them. Returns
  /// when all connections are gone.
  void Shutdown(absl::Duration grace);

 private:
  OpenAiServer(service::Service& service, const service::DoorOptions& options, TlsContexts contexts,
               const Patience& patience);

  void AddRoutes();
  absl::Status Accept(net::Listener listener, std::shared_ptr<net::ConnectionTable> connections);
  /// Whether no connection is left by then.
  bool AwaitNone(absl::Duration grace);

  service::Service& service_;
  const service::DoorOptions options_;
  TlsContexts contexts_;  // the acceptor's thread
  Router router_;
  Loop loop_;
  Hall hall_;
  std::unique_ptr<net::Acceptor> acceptor_;
  int port_ = 0;
};

}  // namespace fmaserver::openai
