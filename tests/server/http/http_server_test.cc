// The server over real sockets: what a probe gets while others misbehave.
#include "server/http/http_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "base/text.h"

namespace fmaserver::http {
namespace {

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() {
    auto server = HttpServer::Start("127.0.0.1:0", [this](const std::string& path) {
      ++answered_;
      return path == "/large" ? HttpResponse{.body = std::string(size_t{8} << 20, 'x')}
                              : HttpResponse{.body = path};
    });
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  FileDescriptor Connect() const {
    FileDescriptor socket(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(server_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval limit{.tv_sec = 20, .tv_usec = 0};
    setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    EXPECT_EQ(connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return socket;
  }

  static void Send(const FileDescriptor& socket, const std::string& bytes) {
    send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }

  /// Receives until the server closes.
  static std::string ReceiveAll(const FileDescriptor& socket) {
    std::string received;
    char bytes[65536];
    for (ssize_t n; (n = recv(socket.get(), bytes, sizeof bytes, 0)) > 0;)
      received.append(bytes, n);
    return received;
  }

  std::string Get(const std::string& request) const {
    const FileDescriptor socket = Connect();
    Send(socket, request);
    return ReceiveAll(socket);
  }

  std::string Probe() const { return Get("GET /livez HTTP/1.1\r\n\r\n"); }

  std::atomic<int> answered_ = 0;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersAndCloses) {
  EXPECT_TRUE(absl::EndsWith(Probe(), "\r\n\r\n/livez"));
  EXPECT_TRUE(absl::StartsWith(Get("POST / HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 "));
  EXPECT_TRUE(absl::StartsWith(Get("\x16\x03\x01\r\n\r\n"), "HTTP/1.1 400 "));
}

TEST_F(HttpServerTest, TakesARequestByteByByte) {
  const FileDescriptor socket = Connect();
  for (const char c : std::string("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")) {
    Send(socket, std::string(1, c));
  }
  EXPECT_TRUE(absl::EndsWith(ReceiveAll(socket), "/slow"));
}

TEST_F(HttpServerTest, RefusesAHeadWithoutEnd) {
  EXPECT_TRUE(absl::StartsWith(Get(Concat("GET / HTTP/1.1\r\n", std::string(kMaxHeadBytes, 'a'))),
                               "HTTP/1.1 431 "));
  EXPECT_EQ(answered_, 0);
}

TEST_F(HttpServerTest, SendsAnAnswerThatIsLargerThanTheBuffers) {
  EXPECT_GT(Get("GET /large HTTP/1.1\r\n\r\n").size(), size_t{8} << 20);
}

TEST_F(HttpServerTest, ProbesAreAnsweredWhileManyConnectionsSayNothing) {
  std::vector<FileDescriptor> silent;
  for (size_t i = 0; i < 3 * HttpServer::kMaxConnections; ++i) {
    silent.push_back(Connect());
    if (i % 3 == 0) Send(silent.back(), "GET /half");
  }
  // The server never holds more than its limit: the oldest were closed for the newer ones.
  EXPECT_TRUE(absl::EndsWith(Probe(), "/livez"));
  EXPECT_EQ(ReceiveAll(silent.front()), "");
}

TEST_F(HttpServerTest, AReaderThatStopsReadingHoldsNobodyUp) {
  const FileDescriptor stuck = Connect();
  Send(stuck, "GET /large HTTP/1.1\r\n\r\n");
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(absl::EndsWith(Probe(), "/livez"));
}

TEST_F(HttpServerTest, SurvivesManyClientsAtOnce) {
  std::vector<std::thread> clients;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      for (int k = 0; k < 50; ++k) good += absl::EndsWith(Probe(), "/livez") ? 1 : 0;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good, 400);
}

TEST(HttpServerAddress, IsChecked) {
  for (const char* address :
       {"", "localhost", ":80", "localhost:", "localhost:99999", "localhost:x", "127.0.0.1:-1"}) {
    const auto server = HttpServer::Start(address, {});
    EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument) << address;
    EXPECT_TRUE(absl::StrContains(server.status().message(), "HOST:PORT"));
  }
  const auto first = HttpServer::Start("127.0.0.1:0", {});
  ASSERT_TRUE(first.ok());
  const auto second = HttpServer::Start("127.0.0.1:" + std::to_string((*first)->port()), {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace fmaserver::http
