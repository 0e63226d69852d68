#include "server/net/acceptor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

namespace fmaserver::net {
namespace {

FileDescriptor Accept(int listening) {
  return FileDescriptor(accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

FileDescriptor OpenReserve() { return FileDescriptor(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

}  // namespace

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Start(Listener listener,
                                                          std::shared_ptr<ConnectionTable> table,
                                                          Serve serve) {
  FileDescriptor stop(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  FileDescriptor reserve = OpenReserve();
  if (!stop || !reserve) return absl::ResourceExhaustedError("listen: no descriptor is left");
  return std::unique_ptr<Acceptor>(new Acceptor(std::move(listener), std::move(table),
                                                std::move(serve), std::move(stop),
                                                std::move(reserve)));
}

Acceptor::Acceptor(Listener listener, std::shared_ptr<ConnectionTable> table, Serve serve,
                   FileDescriptor stop, FileDescriptor reserve)
    : listener_(std::move(listener)),
      table_(std::move(table)),
      serve_(std::move(serve)),
      stop_(std::move(stop)),
      reserve_(std::move(reserve)),
      thread_([this] { Run(); }) {}

Acceptor::~Acceptor() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_.get(), &one, sizeof one);
  thread_.join();
}

void Acceptor::Run() {
  constexpr int kRestMilliseconds = 50;
  std::vector<pollfd> polled;
  while (true) {
    polled = {{.fd = stop_.get(), .events = POLLIN, .revents = 0}};
    for (const FileDescriptor& socket : listener_.sockets) {
      polled.push_back({.fd = resting_ ? -1 : socket.get(), .events = POLLIN, .revents = 0});
    }
    const int timeout = std::exchange(resting_, false) ? kRestMilliseconds : -1;
    if (poll(polled.data(), polled.size(), timeout) < 0) {
      resting_ = errno != EINTR;
      continue;
    }
    if (polled[0].revents != 0) return;
    for (size_t i = 1; i < polled.size(); ++i) {
      if (polled[i].revents != 0) AcceptSome(polled[i].fd);
    }
  }
}

void Acceptor::AcceptSome(int listening) {
  // A few at a time, so that every listening socket gets its turn.
  constexpr int kAtOnce = 64;
  for (int i = 0; i < kAtOnce; ++i) {
    FileDescriptor socket = Accept(listening);
    if (!socket) {
      if (!OnFailure(listening, errno)) return;
    } else if (table_->Add(socket.get())) {
      serve_(std::move(socket));
    }
  }
}

/// Whether more may be waiting.
bool Acceptor::OnFailure(int listening, int error) {
  if (error == EAGAIN || error == EWOULDBLOCK) return false;
  if (error == EINTR || error == ECONNABORTED) return true;
  // Left in the queue, a connection that nothing is left for would wait for nobody knows how long,
  // and poll() would report it again at once.
  if ((error == EMFILE || error == ENFILE) && reserve_) {
    reserve_ = FileDescriptor();
    FileDescriptor refused = Accept(listening);
    const bool disconnects = static_cast<bool>(refused);
    // Before the other end can see it.
    if (disconnects) table_->CountLackOfDescriptors();
    refused = FileDescriptor();
    reserve_ = OpenReserve();
    if (disconnects && reserve_) return true;
  }
  if (!reserve_) reserve_ = OpenReserve();
  resting_ = true;
  return false;
}

}  // namespace fmaserver::net
