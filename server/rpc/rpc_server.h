// The gRPC server: the services Generation and Sessions, standard health checks and reflection on
// one port.
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/generation_service.h"
#include "server/rpc/sessions_service.h"
#include "server/rpc/worker_pool.h"
#include "server/sessions/session_store.h"

namespace fmaserver {

struct RpcServerOptions {
  std::string listen = "127.0.0.1:50051";    ///< HOST:PORT; port 0 takes a free one
  int max_receive_bytes = 32 * 1024 * 1024;  ///< larger requests get RESOURCE_EXHAUSTED
};

/// Thread-safe. Destruction ends running calls at once.
class RpcServer {
 public:
  /// Serves `engine` and `sessions`, which outlive the server. UNAVAILABLE when the address cannot
  /// be had.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(Engine& engine, SessionStore& sessions,
                                                          const RpcServerOptions& options);
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  /// The port that it listens on, the chosen one if port 0 was asked for.
  int port() const { return port_; }

  /// What the health service answers: SERVING (as after Start) or NOT_SERVING.
  void SetServing(bool serving);

  /// Accepts nothing more and waits up to `grace` for running calls, then cancels them. Returns
  /// when all are gone.
  void Shutdown(absl::Duration grace);

 private:
  RpcServer(Engine& engine, SessionStore& sessions)
      : workers_(kWorkers),
        service_({engine, sessions, workers_}),
        sessions_service_({engine, sessions, workers_}) {}

  static constexpr int kWorkers = 4;

  WorkerPool workers_;
  GenerationService service_;
  SessionsService sessions_service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace fmaserver
