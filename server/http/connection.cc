#include "server/http/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

namespace fmaserver::http {
namespace {

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

short HttpConnection::Events() const { return state_ == State::kWriting ? POLLOUT : POLLIN; }

bool HttpConnection::Advance(const HttpHandler& handler) {
  switch (state_) {
    case State::kReading:
      return Read(handler);
    case State::kWriting:
      return Write();
    case State::kClosing:
      return AwaitClose();
  }
  return false;
}

bool HttpConnection::Read(const HttpHandler& handler) {
  char bytes[4096];
  const ssize_t count = recv(fd(), bytes, sizeof bytes, 0);
  if (count <= 0) return count < 0 && WouldBlock();
  received_.append(bytes, static_cast<size_t>(count));
  bool head_only = false;
  HttpResponse response;
  if (HasWholeHead(received_)) {
    const RequestHead head = ParseRequestHead(received_);
    head_only = head.head_only;
    response = head.error == 0 ? handler(head.path) : ErrorResponse(head.error);
  } else if (received_.size() > kMaxHeadBytes) {
    response = ErrorResponse(431);
  } else {
    return true;
  }
  received_.clear();
  answer_ = SerializeResponse(response, head_only);
  state_ = State::kWriting;
  return Write();
}

bool HttpConnection::Write() {
  const ssize_t count =
      send(fd(), answer_.data() + written_, answer_.size() - written_, MSG_NOSIGNAL);
  if (count < 0) return WouldBlock();
  written_ += static_cast<size_t>(count);
  if (written_ < answer_.size()) return true;
  // Closing at once, with unread bytes of the client, would reset the connection and the client
  // would lose the answer. So the client closes first.
  shutdown(fd(), SHUT_WR);
  state_ = State::kClosing;
  return true;
}

bool HttpConnection::AwaitClose() {
  char ignored[4096];
  const ssize_t count = recv(fd(), ignored, sizeof ignored, 0);
  return count > 0 || (count < 0 && WouldBlock());
}

}  // namespace fmaserver::http
