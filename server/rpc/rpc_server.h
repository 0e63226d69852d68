// The gRPC server: the services Generation and Sessions, standard health checks and reflection on
// one port.
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/call.h"
#include "server/rpc/generation_service.h"
#include "server/rpc/sessions_service.h"
#include "server/rpc/tls.h"
#include "server/rpc/worker_pool.h"
#include "server/sessions/session_store.h"

namespace fmaserver::rpc {

struct RpcServerOptions {
  std::string listen = "127.0.0.1:50051";    ///< HOST:PORT; port 0 takes a free one
  int max_receive_bytes = 32 * 1024 * 1024;  ///< larger requests get RESOURCE_EXHAUSTED
  int max_streams = 1024;                    ///< calls at once of one connection; more wait
  TlsOptions tls = {};
  CallPolicy policy = {};  ///< without access and observer: everybody may call, nobody is told
};

/// Thread-safe. Destruction ends running calls at once.
class RpcServer {
 public:
  /// Serves `engine` and `sessions`, which outlive the server. UNAVAILABLE when the address cannot
  /// be had; errors of MakeServerCredentials.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(engine::Engine& engine,
                                                          sessions::SessionStore& sessions,
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
  RpcServer(engine::Engine& engine, sessions::SessionStore& sessions, CallPolicy policy)
      : policy_(std::move(policy)),
        workers_(kWorkers),
        service_({engine, sessions, workers_, policy_}),
        sessions_service_({engine, sessions, workers_, policy_}) {}

  static constexpr int kWorkers = 4;

  const CallPolicy policy_;
  WorkerPool workers_;
  GenerationService service_;
  SessionsService sessions_service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace fmaserver::rpc
