#include "tests/server/sessions/shelf/redis/forwarder.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "gtest/gtest.h"

namespace fmaserver::testing {
namespace {

constexpr int kLookMs = 20;  // how often a thread looks whether all shall end

sockaddr_in Local(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

FileDescriptor ConnectToPort(int port) {
  FileDescriptor server(socket(AF_INET, SOCK_STREAM, 0));
  const sockaddr_in address = Local(port);
  const auto* any = reinterpret_cast<const sockaddr*>(&address);
  if (connect(server.get(), any, sizeof(address)) != 0) return FileDescriptor();
  return server;
}

/// Waits until one of them has something, or a little; false when that is nothing.
bool Look(std::span<pollfd> descriptors) {
  return poll(descriptors.data(), descriptors.size(), kLookMs) > 0;
}

bool SendAll(int to, const char* bytes, int64_t size) {
  while (size > 0) {
    const ssize_t sent = send(to, bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes += sent;
    size -= sent;
  }
  return true;
}

/// Moves what has come, `most` bytes of it; false when the connection has ended.
bool Move(int from, int to, int64_t& most) {
  std::array<char, 65536> buffer;
  const ssize_t size = recv(from, buffer.data(), buffer.size(), 0);
  if (size <= 0) return false;
  const int64_t moved = std::min<int64_t>(size, most);
  most -= moved;
  return SendAll(to, buffer.data(), moved) && most > 0;
}

}  // namespace

Forwarder::Forwarder(int to) : listener_(socket(AF_INET, SOCK_STREAM, 0)), way_({.to = to}) {
  sockaddr_in address = Local(0);
  socklen_t size = sizeof(address);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(bind(listener_.get(), any, size), 0);
  EXPECT_EQ(getsockname(listener_.get(), any, &size), 0);
  EXPECT_EQ(listen(listener_.get(), SOMAXCONN), 0);
  port_ = ntohs(address.sin_port);
  accepting_ = std::thread([this] { Accept(); });
}

Forwarder::~Forwarder() {
  ends_ = true;
  accepting_.join();
  for (std::thread& thread : threads_) thread.join();
}

void Forwarder::To(int port) {
  const std::lock_guard lock(mutex_);
  way_.to = port;
}

void Forwarder::Change(const std::function<void(Way&)>& change) {
  const std::lock_guard lock(mutex_);
  change(way_);
  ++changes_;
}

void Forwarder::CutReplies(int64_t bytes) {
  Change([&](Way& way) { way.reply_bytes = bytes; });
}

void Forwarder::Answer(const std::string& bytes) {
  Change([&](Way& way) { way.answer = bytes; });
}

void Forwarder::Mend() {
  Change([](Way& way) { way = {.to = way.to}; });
}

void Forwarder::Accept() {
  while (!ends_) {
    std::array<pollfd, 1> listening = {{{.fd = listener_.get(), .events = POLLIN, .revents = 0}}};
    if (!Look(listening)) continue;
    FileDescriptor client(accept(listener_.get(), nullptr, nullptr));
    if (!client) continue;
    const std::lock_guard lock(mutex_);
    threads_.emplace_back([this, client = std::move(client), way = way_, born = changes_.load()] {
      way.answer.empty() ? Serve(client, way, born) : Deceive(client, way.answer, born);
    });
  }
}

void Forwarder::Serve(const FileDescriptor& client, const Way& way, int64_t born) const {
  const FileDescriptor server = ConnectToPort(way.to);
  if (!server) return;
  int64_t asked = INT64_MAX;
  int64_t replied = way.reply_bytes;
  while (Lasts(born)) {
    std::array<pollfd, 2> ends = {{{.fd = client.get(), .events = POLLIN, .revents = 0},
                                   {.fd = server.get(), .events = POLLIN, .revents = 0}}};
    if (!Look(ends)) continue;
    if (ends[0].revents != 0 && !Move(client.get(), server.get(), asked)) return;
    if (ends[1].revents != 0 && !Move(server.get(), client.get(), replied)) return;
  }
}

void Forwarder::Deceive(const FileDescriptor& client, const std::string& answer,
                        int64_t born) const {
  std::array<char, 65536> buffer;
  while (Lasts(born)) {
    std::array<pollfd, 1> end = {{{.fd = client.get(), .events = POLLIN, .revents = 0}}};
    if (!Look(end)) continue;
    if (recv(client.get(), buffer.data(), buffer.size(), 0) <= 0) return;
    if (!SendAll(client.get(), answer.data(), std::ssize(answer))) return;
  }
}

}  // namespace fmaserver::testing
