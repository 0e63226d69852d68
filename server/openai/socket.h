// A connected socket, plain or with TLS, for Asio and Beast.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <memory>
#include <optional>
#include <utility>

#include "base/file_descriptor.h"
#include "server/openai/tls_contexts.h"

namespace fmaserver::openai {

/// An AsyncStream of Beast: at most one read and one write at a time, on one thread. Movable until
/// it is used.
class Socket {
 public:
  using Plain = boost::asio::generic::stream_protocol::socket;
  using Tls = boost::asio::ssl::stream<Plain&>;
  using executor_type = Plain::executor_type;
  using Error = boost::system::error_code;

  /// `family` is that of the address; `tls` null: plain.
  Socket(boost::asio::io_context& context, int family, FileDescriptor socket,
         std::shared_ptr<boost::asio::ssl::context> tls)
      : plain_(context, boost::asio::generic::stream_protocol(family, 0), socket.Release()),
        context_(std::move(tls)) {
    if (context_ != nullptr) tls_.emplace(plain_, *context_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  executor_type get_executor() { return plain_.get_executor(); }
  bool encrypts() const { return tls_.has_value(); }

  template <class Buffers, class Handler>
  void async_read_some(const Buffers& buffers, Handler&& handler) {
    if (tls_) {
      tls_->async_read_some(buffers, std::forward<Handler>(handler));
    } else {
      plain_.async_read_some(buffers, std::forward<Handler>(handler));
    }
  }
  template <class Buffers, class Handler>
  void async_write_some(const Buffers& buffers, Handler&& handler) {
    if (tls_) {
      tls_->async_write_some(buffers, std::forward<Handler>(handler));
    } else {
      plain_.async_write_some(buffers, std::forward<Handler>(handler));
    }
  }

  /// Only with TLS.
  template <class Handler>
  void Greet(Handler&& handler) {
    tls_->async_handshake(boost::asio::ssl::stream_base::server, std::forward<Handler>(handler));
  }

  /// Says that nothing more will be sent. With TLS the other end has to answer.
  template <class Handler>
  void SayGoodbye(Handler&& handler) {
    if (tls_) return tls_->async_shutdown(std::forward<Handler>(handler));
    Error error;
    plain_.shutdown(Plain::shutdown_send, error);
    handler(error);
  }

  void Close() {
    Error error;
    plain_.close(error);
  }

 private:
  Plain plain_;
  const std::shared_ptr<boost::asio::ssl::context> context_;
  std::optional<Tls> tls_;
};

}  // namespace fmaserver::openai
