#include "server/sessions/shelf/redis/stream.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <limits>
#include <utility>

#include "absl/memory/memory.h"
#include "base/refusal.h"
#include "base/text.h"
#include "server/sessions/shelf/redis/resolve.h"

namespace fmaserver::sessions {
namespace {

absl::Status SystemError(int error) {
  return absl::UnavailableError(std::generic_category().message(error));
}

absl::Status TlsError() {
  char text[256] = "the connection ended";
  if (const unsigned long code = ERR_get_error(); code != 0) {  // NOLINT(google-runtime-int)
    ERR_error_string_n(code, text, sizeof(text));
  }
  ERR_clear_error();
  return absl::UnavailableError(Concat("TLS: ", std::string_view(text)));
}

absl::Status WaitFor(int descriptor, short events, Clock::time_point deadline) {  // NOLINT
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return absl::DeadlineExceededError("no answer in time");
    pollfd poll_of{.fd = descriptor, .events = events, .revents = 0};
    const auto most = std::min<int64_t>(left.count(), std::numeric_limits<int>::max());
    const int ready = poll(&poll_of, 1, static_cast<int>(most));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return SystemError(errno);
  }
}

absl::StatusOr<FileDescriptor> ConnectTo(const addrinfo& address, Clock::time_point deadline) {
  FileDescriptor socket(
      ::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!socket) return SystemError(errno);
  const int on = 1;
  setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  if (connect(socket.get(), address.ai_addr, address.ai_addrlen) == 0) return socket;
  if (errno != EINPROGRESS) return SystemError(errno);
  if (absl::Status status = WaitFor(socket.get(), POLLOUT, deadline); !status.ok()) return status;
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return SystemError(error);
  return socket;
}

bool IsAddress(const std::string& host) {
  in6_addr bytes;
  return inet_pton(AF_INET, host.c_str(), &bytes) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &bytes) == 1;
}

absl::Status Unusable(std::string_view option, const std::string& file) {
  return At(option, At(file, TlsError()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<SSL_CTX, DeleteTls>> MakeTlsContext(const StoreOptions& options) {
  std::unique_ptr<SSL_CTX, DeleteTls> context(SSL_CTX_new(TLS_client_method()));
  if (context == nullptr) return TlsError();
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  const int trusted = options.ca.empty()
                          ? SSL_CTX_set_default_verify_paths(context.get())
                          : SSL_CTX_load_verify_file(context.get(), options.ca.c_str());
  if (trusted != 1) return Unusable("session-store-ca", options.ca);
  if (options.cert.empty()) return context;
  if (SSL_CTX_use_certificate_chain_file(context.get(), options.cert.c_str()) != 1) {
    return Unusable("session-store-cert", options.cert);
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), options.key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    return Unusable("session-store-key", options.key);
  }
  return context;
}

absl::StatusOr<std::unique_ptr<Stream>> Stream::Connect(const StoreAddress& address,
                                                        const StoreOptions& options,
                                                        Clock::duration timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  const absl::StatusOr<AddressList> list = Resolve(address.host, address.port, deadline);
  if (!list.ok()) return list.status();
  absl::Status status = absl::UnavailableError("it has no address");
  for (const addrinfo* one = list->get(); one != nullptr; one = one->ai_next) {
    absl::StatusOr<FileDescriptor> socket = ConnectTo(*one, deadline);
    status = socket.status();
    if (!status.ok()) continue;
    auto stream = absl::WrapUnique(new Stream(*std::move(socket)));
    stream->Allow(deadline - Clock::now());
    if (address.tls) {
      status = stream->Greet(address, options);
      if (!status.ok()) return status;
    }
    return stream;
  }
  return status;
}

absl::Status Stream::Greet(const StoreAddress& address, const StoreOptions& options) {
  const auto context = MakeTlsContext(options);
  if (!context.ok()) return context.status();
  tls_.reset(SSL_new(context->get()));
  if (tls_ == nullptr) return TlsError();
  const char* host = address.host.c_str();
  const bool set =
      IsAddress(address.host)
          ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls_.get()), host) == 1
          : SSL_set1_host(tls_.get(), host) == 1 && SSL_set_tlsext_host_name(tls_.get(), host) == 1;
  if (!set || SSL_set_fd(tls_.get(), socket_.get()) != 1) return TlsError();
  for (;;) {
    ERR_clear_error();
    const int result = SSL_connect(tls_.get());
    if (result == 1) return absl::OkStatus();
    const Step step = TlsStep(result);
    if (step.wait == 0) return TlsError();
    if (absl::Status status = Wait(step.wait); !status.ok()) return status;
  }
}

Stream::Step Stream::TlsStep(int result) const {
  if (result > 0) return {.bytes = result};
  switch (SSL_get_error(tls_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return {.wait = POLLIN};
    case SSL_ERROR_WANT_WRITE:
      return {.wait = POLLOUT};
    default:
      return {};
  }
}

// OpenSSL writes without MSG_NOSIGNAL: the process ignores SIGPIPE (command_line/process.h).
Stream::Step Stream::TryWrite(std::string_view bytes) {
  constexpr size_t kMost = 1 << 20;
  const size_t size = std::min(bytes.size(), kMost);
  if (tls_ != nullptr) {
    ERR_clear_error();
    return TlsStep(SSL_write(tls_.get(), bytes.data(), static_cast<int>(size)));
  }
  const ssize_t sent = send(socket_.get(), bytes.data(), size, MSG_NOSIGNAL);
  if (sent >= 0) return {.bytes = sent};
  return {.wait =
              static_cast<decltype(Step::wait)>(errno == EAGAIN || errno == EINTR ? POLLOUT : 0)};
}

Stream::Step Stream::TryRead(std::span<char> bytes) {
  if (tls_ != nullptr) {
    ERR_clear_error();
    return TlsStep(SSL_read(tls_.get(), bytes.data(), static_cast<int>(bytes.size())));
  }
  const ssize_t read = recv(socket_.get(), bytes.data(), bytes.size(), 0);
  if (read >= 0) return {.bytes = read};
  return {.wait =
              static_cast<decltype(Step::wait)>(errno == EAGAIN || errno == EINTR ? POLLIN : 0)};
}

absl::Status Stream::Wait(short events) const {  // NOLINT(google-runtime-int)
  return WaitFor(socket_.get(), events, deadline_);
}

void Stream::Moved(ssize_t bytes) {
  const auto more = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(static_cast<double>(bytes) / kBytesPerSecond));
  deadline_ = std::min(deadline_ + more, Clock::now() + timeout_);
}

absl::Status Stream::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    const Step step = TryWrite(bytes);
    if (step.bytes > 0) {
      Moved(step.bytes);
      bytes.remove_prefix(static_cast<size_t>(step.bytes));
    } else if (step.wait == 0) {
      return absl::UnavailableError("the connection ended");
    } else if (absl::Status status = Wait(step.wait); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> Stream::Read(std::span<char> bytes) {
  for (;;) {
    // Also when bytes are there: a stream of single ones must not go on for ever.
    if (Clock::now() >= deadline_) return absl::DeadlineExceededError("no answer in time");
    const Step step = TryRead(bytes);
    if (step.bytes > 0) {
      Moved(step.bytes);
      return static_cast<size_t>(step.bytes);
    }
    if (step.wait == 0) return absl::UnavailableError("the connection ended");
    if (absl::Status status = Wait(step.wait); !status.ok()) return status;
  }
}

bool Stream::IsQuiet() const {
  pollfd poll_of{.fd = socket_.get(), .events = POLLIN, .revents = 0};
  return poll(&poll_of, 1, 0) == 0;
}

}  // namespace fmaserver::sessions
