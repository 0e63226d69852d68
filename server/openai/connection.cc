#include "server/openai/connection.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <string_view>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/text.h"
#include "server/openai/errors.h"
#include "server/openai/origin.h"

namespace fmaserver::openai {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr size_t kMaxHeadBytes = size_t{16} << 10;
/// A refused request whose body is not longer is read to its end, so that its connection can stay.
constexpr size_t kShortBodyBytes = size_t{64} << 10;
/// Of one write, so that every so many bytes have their own time.
constexpr size_t kMaxWriteBytes = size_t{256} << 10;

std::chrono::milliseconds Milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3));
}

template <class Text>
std::string Copy(const Text& text) {
  return std::string(text.data(), text.size());
}

std::string_view PathOf(std::string_view target) { return target.substr(0, target.find('?')); }

template <class Fields>
service::CallMetadata MetadataOf(const Fields& fields, const std::string& peer) {
  service::CallMetadata metadata{.authorization = Copy(fields[http::field::authorization]),
                                 .traceparent = Copy(fields["traceparent"]),
                                 .tracestate = Copy(fields["tracestate"]),
                                 .request_id = Copy(fields["x-request-id"]),
                                 .peer = peer,
                                 .protocol = service::Protocol::kHttp};
  const std::string key = Copy(fields["api-key"]);
  if (metadata.authorization.empty() && !key.empty()) {
    metadata.authorization = Concat("Bearer ", key);
  }
  return metadata;
}

template <class Fields>
bool IsCompressed(const Fields& fields) {
  const auto encoding = fields[http::field::content_encoding];
  return !encoding.empty() && !boost::beast::iequals(encoding, "identity");
}

template <class Fields>
std::string ForeignPageOf(const Fields& fields) {
  const std::string site = Copy(fields["sec-fetch-site"]);
  const std::string origin = Copy(fields[http::field::origin]);
  const std::string host = Copy(fields[http::field::host]);
  const std::string forwarded_host = Copy(fields["x-forwarded-host"]);
  return ForeignPage(
      {.site = site, .origin = origin, .host = host, .forwarded_host = forwarded_host});
}

absl::Status ClientLeft() { return absl::CancelledError("the client went away"); }

}  // namespace

Connection::Connection(Hall& hall, int family, FileDescriptor socket, std::string peer,
                       std::shared_ptr<asio::ssl::context> tls)
    : hall_(hall),
      socket_(hall.loop.context(), family, std::move(socket), std::move(tls)),
      peer_(std::move(peer)),
      patience_(hall.loop),
      write_patience_(hall.loop) {}

void Connection::Start() {
  hall_.connections.insert(shared_from_this());
  if (!socket_.encrypts()) return AwaitRequest();
  Ring(hall_.patience.greeting);
  socket_.Greet([self = shared_from_this()](const Error& error) {
    if (error) return self->Close();
    self->AwaitRequest();
  });
}

void Connection::Ring(std::chrono::milliseconds after) {
  if (state_ != State::kClosed) patience_.Set(after, [this] { Close(); });
}

void Connection::AwaitRequest() {
  if (state_ == State::kClosed) return;
  state_ = State::kAwaiting;
  parser_.reset();
  request_ = {};
  head_only_ = false;
  refusal_.reset();
  call_id_.clear();
  route_ = nullptr;
  answered_ = false;
  if (hall_.closing && asked_) return Leave();
  if (received_.size() > 0) return ReadHead();
  const double idle = hall_.options.max_connection_idle_seconds;
  if (!asked_) Ring(hall_.patience.first);
  if (asked_ && idle > 0) Ring(Milliseconds(idle));
  Watch();
}

// Notices what a client does while it has nothing to do: it asks, or it leaves.
void Connection::Watch() {
  if (watching_ || received_.size() > 0) return;
  constexpr size_t kReadBytes = 4096;
  watching_ = true;
  socket_.async_read_some(received_.prepare(kReadBytes),
                          [self = shared_from_this()](const Error& error, size_t size) {
                            self->watching_ = false;
                            self->OnBytes(error, size);
                          });
}

void Connection::OnBytes(const Error& error, size_t size) {
  if (error) return Close();
  if (state_ == State::kLeaving) return Discard();
  received_.commit(size);
  // The next request of a client that does not wait for answers stays here until its turn, and no
  // more is read.
  if (state_ == State::kAwaiting) ReadHead();
}

void Connection::ReadHead() {
  state_ = State::kReading;
  asked_ = true;
  parser_.emplace();
  parser_->header_limit(kMaxHeadBytes);
  parser_->body_limit(static_cast<uint64_t>(hall_.service.policy().limits.request_bytes));
  Ring(hall_.patience.head);
  http::async_read_header(
      socket_, received_, *parser_,
      [self = shared_from_this()](const Error& error, size_t /*size*/) { self->OnHead(error); });
}

void Connection::OnHead(const Error& error) {
  if (state_ == State::kClosed) return;
  if (error) return OnBadBytes(error);
  Receive();
}

// What is no request is answered when the client can still read it.
void Connection::OnBadBytes(const Error& error) {
  if (error == http::error::header_limit) {
    return Refuse(ErrorResponse(
        431, Concat("the head is too long; allowed: up to ", kMaxHeadBytes, " bytes")));
  }
  if (error == http::error::body_limit) {
    return Refuse(ErrorResponse(
        413, Concat("the body is too long; allowed: up to ",
                    hall_.service.policy().limits.request_bytes, " bytes (--max-request-bytes)")));
  }
  const bool is_http = error.category() == make_error_code(http::error::bad_method).category();
  if (!is_http || error == http::error::end_of_stream || error == http::error::partial_message) {
    return Close();
  }
  Refuse(ErrorResponse(400, Concat("not a request of HTTP/1.1: ", error.message())));
}

void Connection::Receive() {
  const auto& head = parser_->get();
  request_.method = Copy(head.method_string());
  head_only_ = head.method() == http::verb::head;
  request_.path = Copy(PathOf(Copy(head.target())));
  request_.metadata = MetadataOf(head, peer_);
  chunked_ = head.version() >= 11;
  keeps_ = parser_->keep_alive();
  refusal_ = Admit(&route_);
  const bool waits = boost::beast::iequals(head[http::field::expect], "100-continue");
  const auto length = parser_->content_length();
  const bool is_short =
      parser_->is_done() || (length.has_value() && *length <= kShortBodyBytes && !waits);
  if (refusal_.has_value() && !is_short) return Refuse(*std::exchange(refusal_, std::nullopt));
  if (waits) Send("HTTP/1.1 100 Continue\r\n\r\n", [](const absl::Status&) {});
  Ring(hall_.patience.body);
  ReadBody();
}

/// Why the request is refused before its body is read.
std::optional<Response> Connection::Admit(const Route** route) {
  const auto& head = parser_->get();
  const Router::Found found =
      hall_.router.Find(head_only_ ? "GET" : request_.method, request_.path);
  if (found.route == nullptr && found.allowed.empty()) {
    return ErrorResponse(404, Concat("there is no ", Quoted(request_.path), " here"));
  }
  if (found.route == nullptr) {
    Response refusal = ErrorResponse(
        405, Concat("method is ", Quoted(request_.method), "; allowed: ", found.allowed));
    refusal.headers.emplace_back("Allow", found.allowed);
    return refusal;
  }
  if (IsCompressed(head)) {
    return ErrorResponse(415, "Content-Encoding is set; allowed: bodies that are not compressed");
  }
  if (head.count(http::field::transfer_encoding) > 0 && !parser_->chunked()) {
    return ErrorResponse(501, "Transfer-Encoding is unknown; allowed: chunked");
  }
  *route = found.route;
  if (found.route->kind == nullptr) return std::nullopt;
  if (const std::string why = ForeignPageOf(head); !why.empty()) return ErrorResponse(403, why);
  return Begin(*found.route->kind);
}

std::optional<Response> Connection::Begin(const service::CallKind& kind) {
  request_.call = hall_.service.Begin(kind, request_.metadata);
  call_id_ = request_.metadata.request_id = request_.call->request_id();
  const absl::Status& admission = request_.call->admission();
  if (admission.ok()) return std::nullopt;
  request_.call->SetStatus(admission);
  return ErrorResponse(admission);
}

void Connection::ReadBody() {
  if (parser_->is_done()) return Handle();
  http::async_read_some(
      socket_, received_, *parser_,
      [self = shared_from_this()](const Error& error, size_t /*size*/) { self->OnBody(error); });
}

void Connection::OnBody(const Error& error) {
  if (state_ == State::kClosed) return;
  if (error) return OnBadBytes(error);
  const size_t size = parser_->get().body().size();
  hall_.body_bytes += size - held_;
  held_ = size;
  if (hall_.body_bytes > hall_.max_body_bytes && size > kShortBodyBytes) {
    Response refusal = ErrorResponse(429, "too many bytes are being received already; try later");
    refusal.headers.emplace_back("Retry-After", "1");
    return Refuse(std::move(refusal));
  }
  ReadBody();
}

void Connection::Handle() {
  patience_.Clear();
  hall_.body_bytes -= std::exchange(held_, 0);
  state_ = State::kAnswering;
  if (refusal_.has_value()) return Answer(*std::exchange(refusal_, std::nullopt));
  request_.body = std::move(parser_->get().body());
  Watch();
  route_->handler(std::exchange(request_, {}), shared_from_this());
}

// The rest of the request is not read, so nothing can follow it.
void Connection::Refuse(Response response) {
  if (request_.call != nullptr && request_.call->admission().ok()) {
    const bool full = response.status == 429;
    request_.call->SetStatus(absl::Status(
        full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kInvalidArgument,
        Concat("the body was refused with HTTP status ", response.status)));
  }
  keeps_ = false;
  state_ = State::kAnswering;
  Answer(std::move(response));
}

std::string Connection::HeadOf(int status, const Headers& headers) const {
  std::string head = Concat(
      "HTTP/1.1 ", status, " ", ReasonOf(status), "\r\nDate: ",
      absl::FormatTime("%a, %d %b %E4Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone()), "\r\n");
  for (const auto& [name, value] : headers) head += Concat(name, ": ", value, "\r\n");
  if (!call_id_.empty()) head += Concat("x-request-id: ", call_id_, "\r\n");
  head += keeps_ ? "Connection: keep-alive\r\n" : "Connection: close\r\n";
  return head;
}

void Connection::Answer(Response response) {
  if (state_ != State::kAnswering || std::exchange(answered_, true)) return;
  const double age = hall_.options.max_connection_age_seconds;
  if (hall_.draining || (age > 0 && SecondsSince(start_) > age)) keeps_ = false;
  std::string head =
      Concat(HeadOf(response.status, response.headers), "Content-Type: ", response.content_type,
             "\r\nContent-Length: ", response.body.size(), "\r\n\r\n");
  if (head_only_) response.body.clear();
  if (response.body.size() > kMaxWriteBytes) {
    Send(std::exchange(head, {}), [](const absl::Status&) {});
  }
  Send(std::move(head += response.body), [this](const absl::Status& status) {
    if (status.ok()) EndExchange();
  });
}

void Connection::BeginStream(const Headers& headers) {
  if (state_ != State::kAnswering || std::exchange(answered_, true)) return;
  // The end of a stream of HTTP/1.0 is the end of its connection.
  if (hall_.draining || !chunked_) keeps_ = false;
  Send(Concat(HeadOf(200, headers),
              "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
              "X-Accel-Buffering: no\r\n",
              chunked_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n"),
       [](const absl::Status&) {});
}

void Connection::Write(std::string bytes, Written written) {
  if (chunked_) bytes = absl::StrFormat("%x\r\n%s\r\n", bytes.size(), bytes);
  Send(std::move(bytes), std::move(written));
}

void Connection::EndStream() {
  Send(chunked_ ? "0\r\n\r\n" : "", [this](const absl::Status& status) {
    if (status.ok()) EndExchange();
  });
}

void Connection::OnGone(std::function<void()> gone) {
  if (state_ == State::kClosed) return gone();
  gone_ = std::move(gone);
}

void Connection::Send(std::string bytes, Written written) {
  if (state_ == State::kClosed) return written(ClientLeft());
  outgoing_.push_back({.bytes = std::move(bytes), .written = std::move(written)});
  if (outgoing_.size() == 1) WriteSome();
}

void Connection::WriteSome() {
  const Outgoing& next = outgoing_.front();
  const auto rest = std::string_view(next.bytes).substr(next.sent, kMaxWriteBytes);
  write_patience_.Set(hall_.patience.write, [this] { Close(); });
  socket_.async_write_some(
      asio::buffer(rest.data(), rest.size()),
      [self = shared_from_this()](const Error& error, size_t size) { self->OnSent(error, size); });
}

void Connection::OnSent(const Error& error, size_t size) {
  if (state_ == State::kClosed) return;
  if (error) return Close();
  write_patience_.Clear();
  Outgoing& first = outgoing_.front();
  first.sent += size;
  if (first.sent < first.bytes.size()) return WriteSome();
  const Outgoing done = std::move(first);
  outgoing_.pop_front();
  if (!outgoing_.empty()) WriteSome();
  done.written(absl::OkStatus());
}

void Connection::EndExchange() {
  gone_ = nullptr;
  // A client that was told that its connection stays may ask once more, even if the server drains
  // since then, and is answered.
  if (!keeps_) return Leave();
  AwaitRequest();
}

void Connection::Drain() {
  if (state_ == State::kGreeting) return Close();
  if (state_ == State::kAwaiting) Leave();
}

// Closed at once, the kernel would throw away what the client has not read yet, if the client still
// sends.
void Connection::Leave() {
  state_ = State::kLeaving;
  Ring(hall_.patience.leave);
  socket_.SayGoodbye([self = shared_from_this()](const Error& /*error*/) {
    if (self->socket_.encrypts()) return self->Close();
    self->Discard();
  });
}

void Connection::Discard() {
  if (state_ != State::kLeaving) return;
  received_.consume(received_.size());
  Watch();
}

void Connection::Close() {
  if (state_ == State::kClosed) return;
  const auto self = shared_from_this();
  state_ = State::kClosed;
  patience_.Clear();
  write_patience_.Clear();
  hall_.body_bytes -= std::exchange(held_, 0);
  socket_.Close();
  request_ = {};
  const auto unsent = std::exchange(outgoing_, {});
  for (const Outgoing& next : unsent) next.written(ClientLeft());
  if (const auto gone = std::exchange(gone_, nullptr)) gone();
  hall_.Leave(self);
}

}  // namespace fmaserver::openai
