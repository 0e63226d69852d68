// The gRPC server: the services Generation and Sessions, standard health checks and reflection (v1
// and v1alpha) on one port.
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/generation_service.h"
#include "server/rpc/reflection_service.h"
#include "server/rpc/sessions_service.h"
#include "server/service/door_options.h"
#include "server/service/service.h"

namespace fmaserver::rpc {

/// Thread-safe. Destruction ends running calls at once.
class RpcServer {
 public:
  /// Serves `service`, which outlives the server. UNAVAILABLE when the address cannot be had;
  /// errors of MakeServerCredentials.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(service::Service& service,
                                                          const service::DoorOptions& options);
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
  explicit RpcServer(service::Service& service);

  service::Service& service_;
  GenerationService generation_;
  SessionsService sessions_;
  ReflectionService reflection_;
  std::optional<AdminService> admin_;  // none: the server has no administrators
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace fmaserver::rpc
