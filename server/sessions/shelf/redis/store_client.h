// Calls of a store on the network, each within its time, over a few connections that are kept.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/sessions/session_types.h"
#include "server/sessions/shelf/redis/connection.h"
#include "server/sessions/shelf/redis/script.h"
#include "server/sessions/shelf/redis/store_options.h"

namespace fmaserver::sessions {

class StoreClient;

/// Some commands and their replies, over one connection that nobody else uses meanwhile: all may be
/// sent before the first reply is awaited. Errors are UNAVAILABLE, with the store's name.
class Exchange {
 public:
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  absl::Status Send(const Command& command);
  /// The next reply. What the store refuses is an error of this command alone.
  absl::StatusOr<Reply> Receive(int64_t most_bytes = kShortReplyBytes);

  /// Runs a script, which the store may know already.
  absl::Status Send(const ScriptCall& call) { return Send(call.ByDigest()); }
  /// The reply to `call`, which was the last to be sent.
  absl::StatusOr<Reply> Receive(const ScriptCall& call, int64_t most_bytes = kShortReplyBytes);

  /// That StoreOptions::replicas have all that was written so far. Waits for them for half the
  /// timeout, and kPause at most: a replica that is away delays every save.
  absl::Status AwaitReplicas();

  /// Whether every reply that was awaited has come, be it a refusal.
  bool answers() const { return answers_; }

 private:
  friend class StoreClient;
  Exchange(StoreClient& client, std::unique_ptr<Connection> connection, Clock::time_point start)
      : client_(client), connection_(std::move(connection)), start_(start) {}

  absl::Status Failed(const absl::Status& status);
  absl::StatusOr<Reply> ReceiveAny(int64_t most_bytes);
  absl::StatusOr<Reply> Judge(absl::StatusOr<Reply> reply);

  StoreClient& client_;
  std::unique_ptr<Connection> connection_;
  const Clock::time_point start_;
  absl::Status status_;
  bool answers_ = true;
};

/// Thread-safe. Once a call has run out of its time, calls fail at once, and every kPause one of
/// them tries a little whether the store answers again: a store that hangs does not slow everybody.
class StoreClient {
 public:
  static constexpr double kPause = 1;

  /// INVALID_ARGUMENT for options that can never work. Does not connect. The observer outlives the
  /// client.
  static absl::StatusOr<std::unique_ptr<StoreClient>> Open(StoreOptions options,
                                                           SessionObserver& observer,
                                                           Now now = Clock::now);

  absl::StatusOr<std::unique_ptr<Exchange>> Begin();

  /// One command, or one script.
  absl::StatusOr<Reply> Call(const Command& command, int64_t most_bytes = kShortReplyBytes);
  absl::StatusOr<Reply> Call(const ScriptCall& call, int64_t most_bytes = kShortReplyBytes);

  /// The store as messages call it.
  const std::string& name() const { return address_.text; }

 private:
  friend class Exchange;

  StoreClient(StoreAddress address, StoreOptions options, SessionObserver& observer, Now now)
      : address_(std::move(address)),
        options_(std::move(options)),
        observer_(observer),
        now_(std::move(now)) {}

  /// Whether a call may be made now, or must find out whether the store answers.
  enum class Gate : uint8_t { kOpen, kTry, kClosed };
  Gate Enter();
  absl::StatusOr<std::unique_ptr<Connection>> Connect(Gate gate);
  std::unique_ptr<Connection> TakeIdle();
  void DropIdle();
  void Finish(std::unique_ptr<Connection> connection, const absl::Status& status, double seconds);
  absl::Status Unavailable(const absl::Status& why) const;

  const StoreAddress address_;
  const StoreOptions options_;
  SessionObserver& observer_;
  const Now now_;

  std::mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_;  // guarded by mutex_, as are the next
  bool hangs_ = false;                             // a call has run out of its time
  bool trying_ = false;                            // one call finds out whether it still does
  Clock::time_point try_at_;
};

}  // namespace fmaserver::sessions
