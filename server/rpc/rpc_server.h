// The gRPC server: the services Generation and Sessions, standard health checks and reflection on
// one port.
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/generation_service.h"
#include "server/rpc/sessions_service.h"
#include "server/service/door_options.h"
#include "server/service/service.h"

namespace fmaserver::rpc {

/// Thread-safe. The destructor ends running calls at once.
class RpcServer {
 public:
  /// Serves `service`, which outlives the server. UNAVAILABLE when the address cannot be listened
  /// on; else the errors of MakeServerCredentials.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(service::Service& service,
                                                          const service::DoorOptions& options);
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  /// The port that it listens on, the chosen one if port 0 was asked for.
  int port() const { return port_; }

  /// What the health service answers: SERVING (as after Start) or NOT_SERVING.
  void SetServing(bool serving);

  /// Accepts no new calls, waits up to `grace` for running ones, then cancels them. Returns when
  /// all calls are gone.
  void Shutdown(absl::Duration grace);

 private:
  explicit RpcServer(service::Service& service)
      : service_(service), generation_(service), sessions_(service) {
    if (service.policy().admins != nullptr) admin_.emplace(service);
  }

  service::Service& service_;
  GenerationService generation_;
  SessionsService sessions_;
  std::optional<AdminService> admin_;  // none: the server has no administrators
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace fmaserver::rpc
