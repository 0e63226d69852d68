#include "server/sessions/shelf/redis/store_client.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/memory/memory.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::sessions {
namespace {

constexpr size_t kMaxIdle = 8;

Clock::duration Seconds(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

/// Whether another connection may lead to another server, or to this one as another user.
bool ConcernsConnection(std::string_view refusal) {
  return std::ranges::any_of(
      std::initializer_list<std::string_view>{"READONLY", "MASTERDOWN", "NOAUTH", "LOADING"},
      [&](std::string_view code) { return refusal.starts_with(code); });
}

}  // namespace

Exchange::~Exchange() { client_.Finish(std::move(connection_), status_, SecondsSince(start_)); }

absl::Status Exchange::Failed(const absl::Status& status) {
  if (status_.ok()) status_ = status;
  return client_.Unavailable(status);
}

absl::Status Exchange::Send(const Command& command) {
  absl::Status status = connection_->Send(command);
  if (status.ok()) return status;
  answers_ = false;
  return Failed(status);
}

absl::StatusOr<Reply> Exchange::Receive(int64_t most_bytes) {
  absl::StatusOr<Reply> reply = connection_->Receive(most_bytes);
  if (!reply.ok()) {
    answers_ = false;
    return Failed(reply.status());
  }
  if (reply->kind != Reply::Kind::kError) return reply;
  if (ConcernsConnection(reply->text)) connection_->GiveUp();
  return Failed(absl::UnavailableError(Concat("it refuses: ", Quoted(reply->text))));
}

absl::StatusOr<std::unique_ptr<StoreClient>> StoreClient::Open(StoreOptions options,
                                                               SessionObserver& observer, Now now) {
  absl::StatusOr<StoreAddress> address = ParseStoreUrl("session-store", options.url);
  if (!address.ok()) return address.status();
  if (!address->tls && !(options.ca.empty() && options.cert.empty() && options.key.empty())) {
    return Refusal("session-store", options.url, "rediss:// with certificates");
  }
  if (options.cert.empty() != options.key.empty()) {
    return Refusal("session-store-key", options.key, "a file with a certificate's, and only then");
  }
  if (address->tls) {
    if (const auto context = MakeTlsContext(options); !context.ok()) {
      return absl::InvalidArgumentError(context.status().message());
    }
  }
  if (!options.login.empty()) {
    if (const auto login = ReadStoreLogin(options.login); !login.ok()) {
      return At("session-store-login", login.status());
    }
  }
  return absl::WrapUnique(
      new StoreClient(*std::move(address), std::move(options), observer, std::move(now)));
}

absl::Status StoreClient::Unavailable(const absl::Status& why) const {
  return absl::UnavailableError(Concat("session store ", name(), ": ", why.message()));
}

StoreClient::Gate StoreClient::Enter() {
  const std::lock_guard lock(mutex_);
  if (!hangs_) return Gate::kOpen;
  if (trying_ || now_() < try_at_) return Gate::kClosed;
  trying_ = true;
  return Gate::kTry;
}

std::unique_ptr<Connection> StoreClient::TakeIdle() {
  const std::lock_guard lock(mutex_);
  while (!idle_.empty()) {
    std::unique_ptr<Connection> connection = std::move(idle_.back());
    idle_.pop_back();
    // The store may have ended it, or sent what nobody asked for.
    if (connection->IsIdle()) return connection;
  }
  return nullptr;
}

absl::StatusOr<std::unique_ptr<Connection>> StoreClient::Connect(Gate gate) {
  const double seconds =
      gate == Gate::kTry ? std::min(kPause, options_.timeout_seconds) : options_.timeout_seconds;
  std::unique_ptr<Connection> idle = TakeIdle();
  absl::StatusOr<std::unique_ptr<Connection>> connection =
      idle != nullptr ? std::move(idle) : Connection::Open(address_, options_, Seconds(seconds));
  if (!connection.ok()) return connection;
  if (gate == Gate::kTry) {
    (*connection)->SetTimeout(Seconds(seconds));
    absl::Status status = (*connection)->Send({"PING"});
    if (status.ok()) status = (*connection)->Receive(kShortReplyBytes).status();
    if (!status.ok()) return status;
  }
  (*connection)->SetTimeout(Seconds(options_.timeout_seconds));
  return connection;
}

absl::StatusOr<std::unique_ptr<Exchange>> StoreClient::Begin() {
  const Clock::time_point start = Clock::now();
  const Gate gate = Enter();
  if (gate == Gate::kClosed) {
    observer_.OnStoreCall(0, /*answered=*/false);
    return Unavailable(absl::UnavailableError("it does not answer"));
  }
  auto connection = Connect(gate);
  if (!connection.ok()) {
    Finish(nullptr, connection.status(), SecondsSince(start));
    return Unavailable(connection.status());
  }
  if (gate == Gate::kTry) {
    const std::lock_guard lock(mutex_);
    hangs_ = trying_ = false;
  }
  return absl::WrapUnique(new Exchange(*this, *std::move(connection), start));
}

void StoreClient::Finish(std::unique_ptr<Connection> connection, const absl::Status& status,
                         double seconds) {
  {
    const std::lock_guard lock(mutex_);
    if (!status.ok()) trying_ = false;
    if (absl::IsDeadlineExceeded(status)) hangs_ = true;
    if (hangs_ && !status.ok()) try_at_ = now_() + Seconds(kPause);
    if (connection != nullptr && idle_.size() < kMaxIdle && connection->IsIdle()) {
      idle_.push_back(std::move(connection));
    }
  }
  observer_.OnStoreCall(seconds, status.ok());
}

absl::StatusOr<Reply> StoreClient::Call(const Command& command, int64_t most_bytes) {
  const auto exchange = Begin();
  if (!exchange.ok()) return exchange.status();
  if (absl::Status status = (*exchange)->Send(command); !status.ok()) return status;
  return (*exchange)->Receive(most_bytes);
}

}  // namespace fmaserver::sessions
