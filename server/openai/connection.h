// One connection of a client: requests of HTTP/1, one after the other, within limits.
#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "server/openai/exchange.h"
#include "server/openai/hall.h"
#include "server/openai/loop.h"
#include "server/openai/socket.h"

namespace fmaserver::openai {

/// Lives on the loop's thread, and until its socket is closed and nobody answers it any more.
class Connection final : public Responder, public std::enable_shared_from_this<Connection> {
 public:
  /// `hall` outlives the connection.
  Connection(Hall& hall, int family, FileDescriptor socket, std::string peer,
             std::shared_ptr<boost::asio::ssl::context> tls);

  void Start();
  /// Ends the connection once it has been idle, or is: no new request is taken.
  void Drain();
  void Close();

  void Answer(Response response) override;
  void BeginStream(const Headers& headers) override;
  void Write(std::string bytes, Written written) override;
  void EndStream() override;
  bool idle() const override { return outgoing_.empty(); }
  void OnGone(std::function<void()> gone) override;

 private:
  using Error = boost::system::error_code;
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  enum class State {
    kGreeting,   // TLS
    kAwaiting,   // a request, with no byte of it here
    kReading,    // its head or body
    kAnswering,  // by its handler
    kLeaving,    // the last answer is sent
    kClosed,
  };

  void AwaitRequest();
  void Watch();
  void OnBytes(const Error& error, size_t size);

  void ReadHead();
  void OnHead(const Error& error);
  void OnBadBytes(const Error& error);
  void Receive();
  std::optional<Response> Admit(const Route** route);
  /// Begins the call; why it is refused.
  std::optional<Response> Begin(const service::CallKind& kind);
  void ReadBody();
  void OnBody(const Error& error);
  void Handle();
  void Refuse(Response response);

  void Send(std::string bytes, Written written);
  void WriteSome();
  void OnSent(const Error& error, size_t size);
  void EndExchange();
  void Leave();
  void Discard();
  void Ring(std::chrono::milliseconds after);

  std::string HeadOf(int status, const Headers& headers) const;

  Hall& hall_;
  Socket socket_;
  const std::string peer_;
  const Clock::time_point start_ = Clock::now();
  State state_ = State::kGreeting;
  bool asked_ = false;      // a request has come before
  bool keeps_ = true;       // takes another request after this one
  bool head_only_ = false;  // the request is a HEAD
  Timer patience_;          // with what the client has to do: greet, ask, send the rest
  Timer write_patience_;

  boost::beast::flat_buffer received_;
  bool watching_ = false;  // a read is under way, into an empty received_
  std::optional<Parser> parser_;
  size_t held_ = 0;  // bytes of the body that hall_ counts
  Request request_;
  const Route* route_ = nullptr;
  std::string call_id_;              // empty: the request is no call
  std::optional<Response> refusal_;  // to send when the body has been read

  std::function<void()> gone_;
  bool answered_ = false;
  bool chunked_ = false;  // the stream
  struct Outgoing {
    std::string bytes;
    size_t sent = 0;
    Written written;
  };
  std::deque<Outgoing> outgoing_;
};

}  // namespace fmaserver::openai
