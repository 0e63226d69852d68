#include "server/openai/openai_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "base/text.h"
#include "server/net/listener.h"
#include "server/net/socket_address.h"
#include "server/openai/completion_routes.h"
#include "server/openai/connection.h"
#include "server/openai/embedding_routes.h"
#include "server/openai/page_routes.h"
#include "server/openai/response_routes.h"
#include "server/openai/status_routes.h"
#include "server/openai/token_routes.h"

namespace fmaserver::openai {
namespace {

/// As gRPC writes it: "ipv4:127.0.0.1:40000".
std::string NameOf(const net::SocketAddress& peer) {
  char text[INET6_ADDRSTRLEN] = {};
  if (peer.family() == AF_INET) {
    const auto& address = reinterpret_cast<const sockaddr_in&>(peer.bytes);
    inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
    return Concat("ipv4:", text, ":", net::PortOf(peer));
  }
  if (peer.family() == AF_INET6) {
    const auto& address = reinterpret_cast<const sockaddr_in6&>(peer.bytes);
    inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof text);
    return Concat("ipv6:[", text, "]:", net::PortOf(peer));
  }
  return "unix:";
}

/// A Unix socket has no such options.
void SetOptions(int socket) {
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  // A client that vanished without a word is noticed as by the gRPC door.
  constexpr int kSilenceMilliseconds = 10'000;
  constexpr int kIdleSeconds = 30;
  setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &kSilenceMilliseconds,
             sizeof kSilenceMilliseconds);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &kIdleSeconds, sizeof kIdleSeconds);
}

constexpr int64_t kAnswerBytes = int64_t{512} << 20;

/// That are being received, of all connections.
int64_t BodyBytes(int64_t request_bytes) {
  constexpr int64_t kBodyBytes = int64_t{64} << 20;
  return std::max(kBodyBytes, request_bytes);
}

}  // namespace

int64_t OpenAiServer::BufferBytes(int64_t request_bytes) {
  return BodyBytes(request_bytes) + kAnswerBytes;
}

OpenAiServer::OpenAiServer(service::Service& service, const service::DoorOptions& options,
                           TlsContexts contexts, const Patience& patience)
    : service_(service),
      options_(options),
      contexts_(std::move(contexts)),
      hall_{.loop = loop_,
            .service = service_,
            .router = router_,
            .options = options_,
            .patience = patience,
            .max_body_bytes = static_cast<size_t>(BodyBytes(service.policy().limits.request_bytes)),
            .max_answer_bytes = static_cast<size_t>(kAnswerBytes)} {
  AddRoutes();
}

void OpenAiServer::AddRoutes() {
  AddPageRoute(router_);
  AddStatusRoutes(hall_, router_);
  AddTokenRoutes(hall_, router_);
  AddCompletionRoutes(hall_, router_);
  AddResponseRoutes(hall_, router_);
  AddEmbeddingRoutes(hall_, router_);
}

absl::StatusOr<std::unique_ptr<OpenAiServer>> OpenAiServer::Start(
    service::Service& service, const service::DoorOptions& options,
    std::shared_ptr<net::ConnectionTable> connections,
    std::shared_ptr<const tls::CertificateWatch> certificates, const Patience& patience) {
  auto contexts = TlsContexts::Create(std::move(certificates));
  if (!contexts.ok()) return contexts.status();
  auto listener = net::Listen("openai", options.listen);
  if (!listener.ok()) return listener.status();
  auto server =
      absl::WrapUnique(new OpenAiServer(service, options, *std::move(contexts), patience));
  absl::Status status = server->Accept(*std::move(listener), std::move(connections));
  if (!status.ok()) return status;
  return server;
}

absl::Status OpenAiServer::Accept(net::Listener listener,
                                  std::shared_ptr<net::ConnectionTable> connections) {
  port_ = listener.port;
  auto acceptor = net::Acceptor::Start(
      std::move(listener), std::move(connections), [this](FileDescriptor socket) {
        SetOptions(socket.get());
        const net::SocketAddress peer = net::PeerAddress(socket.get());
        auto connection =
            std::make_shared<Connection>(hall_, net::LocalAddress(socket.get()).family(),
                                         std::move(socket), NameOf(peer), contexts_.current());
        loop_.Post([connection = std::move(connection)] { connection->Start(); });
      });
  if (!acceptor.ok()) return acceptor.status();
  acceptor_ = *std::move(acceptor);
  return absl::OkStatus();
}

OpenAiServer::~OpenAiServer() {
  Shutdown(absl::ZeroDuration());
  // What works for a call reports to the loop, and what runs there uses the hall.
  service_.AwaitCalls();
  loop_.Stop();
}

void OpenAiServer::Drain() {
  loop_.Post([this] { hall_.draining = true; });
}

void OpenAiServer::Shutdown(absl::Duration grace) {
  acceptor_.reset();
  Drain();
  loop_.Post([this] {
    hall_.closing = true;
    const auto connections = hall_.connections;
    for (const auto& connection : connections) connection->Drain();
  });
  if (!AwaitNone(grace)) {
    loop_.Post([this] {
      const auto connections = hall_.connections;
      for (const auto& connection : connections) connection->Close();
    });
    AwaitNone(absl::InfiniteDuration());
  }
}

bool OpenAiServer::AwaitNone(absl::Duration grace) {
  const auto none = std::make_shared<std::promise<void>>();
  std::future<void> done = none->get_future();
  loop_.Post([this, none] { hall_.AwaitNone([none] { none->set_value(); }); });
  if (grace == absl::InfiniteDuration()) {
    done.wait();
    return true;
  }
  return done.wait_for(absl::ToChronoMilliseconds(grace)) == std::future_status::ready;
}

}  // namespace fmaserver::openai
