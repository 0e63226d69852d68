// The gRPC server: the services Generation and Sessions, those of other rooms, standard health
// checks and reflection (v1 and v1alpha) on one port.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/net/acceptor.h"
#include "server/net/connection_table.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/encoders_service.h"
#include "server/rpc/generation_service.h"
#include "server/rpc/more_services.h"
#include "server/rpc/reflection_service.h"
#include "server/rpc/sessions_service.h"
#include "server/service/door_options.h"
#include "server/service/service.h"
#include "server/tls/certificate_watch.h"

namespace fmaserver::rpc {

/// Thread-safe. The destructor ends running calls at once.
class RpcServer {
 public:
  /// Serves `service`, which outlives the server, also by what `more` makes. UNAVAILABLE when the
  /// address cannot be had; INVALID_ARGUMENT for certificates that cannot be used, and for more
  /// connections than there are descriptors.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(service::Service& service,
                                                          const service::DoorOptions& options,
                                                          const ServiceMakers& more = {});
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  /// The port that it listens on, the chosen one if port 0 was asked for; 0 for a Unix socket.
  int port() const { return port_; }

  /// Both may outlive the server.
  const std::shared_ptr<net::ConnectionTable>& connections() const { return connections_; }
  const std::shared_ptr<tls::CertificateWatch>& certificates() const { return certificates_; }

  /// What the health service answers: SERVING (as after Start) or NOT_SERVING.
  void SetServing(bool serving);

  /// Accepts no new calls, waits up to `grace` for running ones, then cancels them. Returns when
  /// all calls are gone.
  void Shutdown(absl::Duration grace);

 private:
  RpcServer(service::Service& service, const ServiceMakers& more);

  std::vector<std::string> ServiceNames() const;

  /// Lets gRPC serve what comes to `listener`.
  absl::Status Accept(net::Listener listener);

  service::Service& service_;
  GenerationService generation_;
  SessionsService sessions_;
  EncodersService encoders_;
  std::optional<AdminService> admin_;  // none: the server has no administrators
  std::vector<NamedService> more_;
  ReflectionService reflection_;  // describes those above
  std::shared_ptr<net::ConnectionTable> connections_;
  std::shared_ptr<tls::CertificateWatch> certificates_;  // null: plain text
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> entrance_;  // of server_
  std::unique_ptr<net::Acceptor> acceptor_;
  int port_ = 0;
};

}  // namespace fmaserver::rpc
