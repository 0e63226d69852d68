#include "tests/server/sessions/shelf/redis/redis_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/text.h"
#include "gtest/gtest.h"
#include "server/sessions/shelf/redis/connection.h"

namespace fmaserver::testing {
namespace {

using sessions::Connection;
using sessions::Reply;

// Debian's server is the same program under another name. Its own package would start it as a
// service.
constexpr char kProgram[] = "/usr/bin/redis-check-rdb";

std::string TextOf(const Reply& reply) {
  if (reply.kind == Reply::Kind::kNumber) return Concat(reply.number);
  if (reply.kind != Reply::Kind::kList) return reply.text;
  std::string text;
  for (const Reply& element : reply.list) {
    text += Concat(text.empty() ? "" : " ", TextOf(element));
  }
  return text;
}

absl::StatusOr<std::unique_ptr<Connection>> Connect(const sessions::StoreOptions& options) {
  const auto address = sessions::ParseStoreUrl("test", options.url);
  return Connection::Open(*address, options, std::chrono::seconds(60));
}

}  // namespace

int RedisServer::FreePort() {
  const FileDescriptor probe(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(bind(probe.get(), any, size), 0);
  EXPECT_EQ(getsockname(probe.get(), any, &size), 0);
  return ntohs(address.sin_port);
}

RedisServer::RedisServer(std::vector<std::string> words)
    : words_(std::move(words)), port_(FreePort()) {
  Start();
}

RedisServer::~RedisServer() { Kill(); }

sessions::StoreOptions RedisServer::options() const { return OptionsFor(port_); }

sessions::StoreOptions RedisServer::OptionsFor(int port) {
  return {.url = Concat("redis://127.0.0.1:", port), .timeout_seconds = 20};
}

void RedisServer::Begin(std::vector<std::string> more) {
  std::vector<std::string> words = {"redis-server",
                                    "--port",
                                    Concat(port_),
                                    "--bind",
                                    "127.0.0.1",
                                    "--dir",
                                    folder_.path(),
                                    "--save",
                                    "",
                                    "--appendonly",
                                    "yes",
                                    "--appendfsync",
                                    "always",
                                    "--repl-diskless-sync-delay",
                                    "0",
                                    "--logfile",
                                    folder_.path() / "log"};
  words.insert(words.end(), words_.begin(), words_.end());
  words.insert(words.end(), more.begin(), more.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  process_ = fork();
  if (process_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // also when the test crashes
    const char* other = std::getenv("FMA_REDIS_SERVER");
    execv(other != nullptr ? other : kProgram, arguments.data());
    _exit(127);
  }
}

void RedisServer::Start() {
  Begin();
  // It listens after it has read what it kept, which it says as LOADING.
  const Clock::time_point end = Clock::now() + std::chrono::seconds(60);
  while (Clock::now() < end) {
    const auto connection = Connect(options());
    if (connection.ok() && (*connection)->Send({"PING"}).ok()) {
      const absl::StatusOr<Reply> reply = (*connection)->Receive(sessions::kShortReplyBytes);
      if (reply.ok() && reply->text == "PONG") return;
    }
    std::this_thread::yield();
  }
  ADD_FAILURE() << "redis-server does not answer: " << ReadFile(folder_.path() / "log");
}

void RedisServer::Kill() {
  if (process_ < 0) return;
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
  process_ = -1;
}

int64_t RedisServer::Count(const std::string& pattern) const {
  const std::string keys = Ask({"KEYS", pattern});
  return keys.empty() ? 0 : 1 + std::count(keys.begin(), keys.end(), ' ');
}

void RedisServer::Pause() { kill(process_, SIGSTOP); }
void RedisServer::Resume() { kill(process_, SIGCONT); }

std::string RedisServer::Ask(const std::vector<std::string>& words) const {
  const auto connection = Connect(options());
  if (!connection.ok()) return std::string(connection.status().message());
  EXPECT_TRUE((*connection)->Send({words.begin(), words.end()}).ok());
  const absl::StatusOr<Reply> reply = (*connection)->Receive(int64_t{1} << 26);
  return reply.ok() ? TextOf(*reply) : std::string(reply.status().message());
}

}  // namespace fmaserver::testing
