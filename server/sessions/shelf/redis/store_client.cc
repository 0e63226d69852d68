#include "server/sessions/shelf/redis/store_client.h"

#include <algorithm>
#include <chrono>
#include <cmath>
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

bool HasCode(std::string_view refusal, std::initializer_list<std::string_view> codes) {
  return std::ranges::any_of(
      codes, [&](std::string_view code) { return refusal.starts_with(Concat(code, " ")); });
}

/// Whether another connection may lead to another server, or to this one as another user.
bool ConcernsConnection(std::string_view refusal) {
  return HasCode(refusal, {"READONLY", "MASTERDOWN", "NOREPLICAS", "LOADING", "NOAUTH", "NOPERM",
                           "CLUSTERDOWN", "MOVED"});
}

absl::Status Refused(std::string_view refusal) {
  if (HasCode(refusal, {"CLUSTERDOWN", "MOVED", "ASK", "CROSSSLOT", "TRYAGAIN"})) {
    return absl::UnavailableError(Concat("it is a cluster: ", Quoted(refusal),
                                         "; allowed: a single server, or a primary with replicas "
                                         "behind one address"));
  }
  return absl::UnavailableError(Concat("it refuses: ", Quoted(refusal)));
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

absl::StatusOr<Reply> Exchange::ReceiveAny(int64_t most_bytes) {
  absl::StatusOr<Reply> reply = connection_->Receive(most_bytes);
  if (reply.ok()) return reply;
  answers_ = false;
  return Failed(reply.status());
}

absl::StatusOr<Reply> Exchange::Judge(absl::StatusOr<Reply> reply) {
  if (!reply.ok() || reply->kind != Reply::Kind::kError) return reply;
  if (ConcernsConnection(reply->text)) {
    connection_->GiveUp();
    client_.DropIdle();
  }
  return Failed(Refused(reply->text));
}

absl::StatusOr<Reply> Exchange::Receive(int64_t most_bytes) {
  return Judge(ReceiveAny(most_bytes));
}

absl::StatusOr<Reply> Exchange::Receive(const ScriptCall& call, int64_t most_bytes) {
  absl::StatusOr<Reply> reply = ReceiveAny(most_bytes);
  if (reply.ok() && IsUnknownScript(*reply)) {
    if (absl::Status status = Send(call.Whole()); !status.ok()) return status;
    reply = ReceiveAny(most_bytes);
  }
  return Judge(std::move(reply));
}

absl::Status Exchange::AwaitReplicas() {
  const int wanted = client_.options_.replicas;
  if (wanted == 0) return absl::OkStatus();
  constexpr double kMsPerSecond = 1000;
  const double seconds = std::min(StoreClient::kPause, client_.options_.timeout_seconds / 2);
  const std::string number = Concat(wanted);
  const std::string ms = Concat(std::max<int64_t>(1, std::llround(seconds * kMsPerSecond)));
  if (absl::Status status = Send({"WAIT", number, ms}); !status.ok()) return status;
  const absl::StatusOr<Reply> reply = Receive();
  if (!reply.ok()) return reply.status();
  if (reply->kind == Reply::Kind::kNumber && reply->number >= wanted) return absl::OkStatus();
  // No call has failed: the store has the save.
  return client_.Unavailable(
      Refusal("number of its replicas with the save", reply->number, Concat("from ", wanted)));
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

void StoreClient::DropIdle() {
  const std::lock_guard lock(mutex_);
  idle_.clear();
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

absl::StatusOr<Reply> StoreClient::Call(const ScriptCall& call, int64_t most_bytes) {
  const auto exchange = Begin();
  if (!exchange.ok()) return exchange.status();
  if (absl::Status status = (*exchange)->Send(call); !status.ok()) return status;
  return (*exchange)->Receive(call, most_bytes);
}

}  // namespace fmaserver::sessions
