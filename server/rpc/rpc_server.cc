#include "server/rpc/rpc_server.h"

#include <grpc/health/v1/health.pb.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/server_builder.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <climits>
#include <memory>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/time/clock.h"
#include "server/net/descriptor_limit.h"
#include "server/net/listener.h"
#include "server/rpc/credentials.h"
#include "server/rpc/health_requests.h"

namespace fmaserver::rpc {
namespace {

// Of a ping's answer, and of what the network takes to acknowledge bytes.
constexpr int kSilenceMilliseconds = 10'000;

/// An argument in milliseconds, of which gRPC takes leaving it out for no limit.
void SetLimit(grpc::ServerBuilder& builder, const char* argument, double seconds) {
  if (!(seconds > 0)) return;
  constexpr double kLongest = INT_MAX;
  const double milliseconds = std::clamp(seconds * 1e3, 1.0, kLongest);
  builder.AddChannelArgument(argument, static_cast<int>(milliseconds));
}

void SetChannelArguments(grpc::ServerBuilder& builder, const service::DoorOptions& options) {
  // Compressed messages come as they are; see inflate.h.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  // A client that vanished without a word is noticed within 40 s and its slot freed.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kSilenceMilliseconds);
  // Clients may ping as often while they wait for a long prompt.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  // A client that pings more often is warned twice, then disconnected.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
  // A connection that does not begin like HTTP/2 (or TLS) in this time is closed.
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  SetLimit(builder, GRPC_ARG_MAX_CONNECTION_IDLE_MS, options.max_connection_idle_seconds);
  SetLimit(builder, GRPC_ARG_MAX_CONNECTION_AGE_MS, options.max_connection_age_seconds);
  SetLimit(builder, GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, options.max_connection_age_grace_seconds);
}

/// gRPC adds reflection to every server of a program that links it, and reflection does not ask for
/// a token.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins,
                  [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

absl::StatusOr<std::shared_ptr<net::ConnectionTable>> MakeConnectionTable(
    const service::DoorOptions& options) {
  const int descriptors = net::DescriptorLimit();
  const auto limits =
      net::LimitsFor(descriptors, options.max_connections, options.max_connections_per_address);
  if (!limits.ok()) return limits.status();
  spdlog::info("connections: up to {}, of one address up to {}; files that may be open: {}",
               limits->total, limits->per_address, descriptors);
  return std::make_shared<net::ConnectionTable>(*limits);
}

/// Null: plain text.
absl::StatusOr<std::shared_ptr<tls::CertificateWatch>> WatchCertificates(
    const tls::TlsOptions& options) {
  if (options.cert.empty() && options.key.empty() && options.client_ca.empty()) return nullptr;
  if (options.cert.empty() || options.key.empty()) {
    return absl::InvalidArgumentError(
        "tls-cert, tls-key: found one without the other; allowed: both or none");
  }
  return tls::CertificateWatch::Start(options);
}

std::vector<NamedService> MakeAll(const ServiceMakers& makers, service::Service& service) {
  std::vector<NamedService> made;
  made.reserve(makers.size());
  for (const ServiceMaker& make : makers) made.push_back(make(service));
  return made;
}

}  // namespace

RpcServer::RpcServer(service::Service& service, const ServiceMakers& more)
    : service_(service),
      generation_(service),
      sessions_(service),
      encoders_(service),
      more_(MakeAll(more, service)),
      reflection_(ServiceNames()) {
  if (service.policy().admins != nullptr) admin_.emplace(service);
}

std::vector<std::string> RpcServer::ServiceNames() const {
  std::vector<std::string> names = {
      v1::Generation::service_full_name(),   v1::Sessions::service_full_name(),
      v1::Encoders::service_full_name(),     "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"};
  if (service_.policy().admins != nullptr) names.push_back(v1::Admin::service_full_name());
  for (const NamedService& other : more_) names.push_back(other.name);
  return names;
}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(service::Service& service,
                                                            const service::DoorOptions& options,
                                                            const ServiceMakers& more) {
  auto connections = MakeConnectionTable(options);
  if (!connections.ok()) return connections.status();
  auto certificates = WatchCertificates(options.tls);
  if (!certificates.ok()) return certificates.status();
  auto listener = net::Listen("listen", options.listen);
  if (!listener.ok()) return listener.status();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  // gRPC's own health service has no descriptor; this one lets reflection describe it.
  google::protobuf::LinkMessageReflection<grpc::health::v1::HealthCheckRequest>();
  auto server = absl::WrapUnique(new RpcServer(service, more));
  server->connections_ = *std::move(connections);
  server->certificates_ = *std::move(certificates);
  grpc::ServerBuilder builder;
  if (!service.policy().access->open()) {
    builder.SetOption(std::make_unique<WithoutReflection>());
  } else {
    builder.RegisterService(&server->reflection_);
  }
  using ConnectionType = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  server->entrance_ = builder.experimental().AddExternalConnectionAcceptor(
      ConnectionType::FROM_FD, CredentialsOf(server->certificates_));
  builder.experimental().SetInterceptorCreators(InflatedHealthRequests());
  builder.SetMaxReceiveMessageSize(service.policy().limits.request_bytes);
  builder.RegisterService(&server->generation_);
  builder.RegisterService(&server->sessions_);
  builder.RegisterService(&server->encoders_);
  if (server->admin_.has_value()) builder.RegisterService(&*server->admin_);
  for (const NamedService& other : server->more_) builder.RegisterService(other.service.get());
  SetChannelArguments(builder, options);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) return absl::InternalError("gRPC cannot start its server");
  server->SetServing(true);
  if (absl::Status status = server->Accept(*std::move(listener)); !status.ok()) return status;
  return server;
}

absl::Status RpcServer::Accept(net::Listener listener) {
  port_ = listener.port;
  auto acceptor =
      net::Acceptor::Start(std::move(listener), connections_, [this](FileDescriptor socket) {
        // As gRPC does to what it accepts itself; a Unix socket has no such option.
        setsockopt(socket.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &kSilenceMilliseconds,
                   sizeof kSilenceMilliseconds);
        grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
        connection.fd = socket.Release();
        entrance_->HandleNewConnection(&connection);
      });
  if (!acceptor.ok()) return acceptor.status();
  acceptor_ = *std::move(acceptor);
  return absl::OkStatus();
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
  health->SetServingStatus(v1::Encoders::service_full_name(), serving);
  for (const NamedService& other : more_) health->SetServingStatus(other.name, serving);
}

void RpcServer::Shutdown(absl::Duration grace) {
  acceptor_.reset();
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  server_->Wait();
  service_.AwaitCalls();
}

}  // namespace fmaserver::rpc
