#include "server/rpc/rpc_server.h"

#include <grpc/health/v1/health.pb.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/rpc/tls.h"

namespace fmaserver::rpc {
namespace {

void SetChannelArguments(grpc::ServerBuilder& builder, const service::DoorOptions& options) {
  // Two servers on one port would share its connections at random.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // A client that vanished without a word is noticed within 40 s and its slot freed.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  // Clients may ping as often while they wait for a long prompt.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  // Who pings more often than that is warned twice, then disconnected.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
  // A connection that does not begin like HTTP/2 (or TLS) in this time is closed.
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
}

/// gRPC's reflection joins every server of a program that links it, and asks nobody for a token.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins,
                  [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

std::vector<std::string> ServiceNames(bool with_admin) {
  std::vector<std::string> names = {v1::Generation::service_full_name(),
                                    v1::Sessions::service_full_name(), "grpc.health.v1.Health",
                                    "grpc.reflection.v1.ServerReflection",
                                    "grpc.reflection.v1alpha.ServerReflection"};
  if (with_admin) names.push_back(v1::Admin::service_full_name());
  return names;
}

}  // namespace

RpcServer::RpcServer(service::Service& service)
    : service_(service),
      generation_(service),
      sessions_(service),
      reflection_(ServiceNames(service.policy().admins != nullptr)) {
  if (service.policy().admins != nullptr) admin_.emplace(service);
}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(service::Service& service,
                                                            const service::DoorOptions& options) {
  const auto credentials = MakeServerCredentials(options.tls);
  if (!credentials.ok()) return credentials.status();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  // gRPC's own health service has no descriptor; this one lets reflection describe it.
  google::protobuf::LinkMessageReflection<grpc::health::v1::HealthCheckRequest>();
  auto server = absl::WrapUnique(new RpcServer(service));
  grpc::ServerBuilder builder;
  if (!service.policy().access->open()) {
    builder.SetOption(std::make_unique<WithoutReflection>());
  } else {
    builder.RegisterService(&server->reflection_);
  }
  builder.AddListeningPort(options.listen, *credentials, &server->port_);
  builder.SetMaxReceiveMessageSize(options.max_request_bytes);
  builder.RegisterService(&server->generation_);
  builder.RegisterService(&server->sessions_);
  if (server->admin_.has_value()) builder.RegisterService(&*server->admin_);
  SetChannelArguments(builder, options);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || server->port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("listen: cannot listen on \"", options.listen,
                     "\"; it must be HOST:PORT of this machine with a port that is free"));
  }
  server->SetServing(true);
  return server;
}

RpcServer::~RpcServer() {
  if (server_ != nullptr) Shutdown(absl::ZeroDuration());
}

void RpcServer::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  // "" stands for the server as a whole.
  health->SetServingStatus("", serving);
  health->SetServingStatus(v1::Generation::service_full_name(), serving);
  health->SetServingStatus(v1::Sessions::service_full_name(), serving);
}

void RpcServer::Shutdown(absl::Duration grace) {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  server_->Wait();
  service_.AwaitCalls();
}

}  // namespace fmaserver::rpc
