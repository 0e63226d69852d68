// One connection to a store: commands in a row, then their replies.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/sessions/shelf/redis/reply.h"
#include "server/sessions/shelf/redis/stream.h"

namespace fmaserver::sessions {

/// A command and its arguments.
using Command = std::vector<std::string_view>;

/// One thread at a time. Errors are the stream's, and DATA_LOSS for a reply that is not of the
/// protocol or longer than the caller expects. After an error the connection is of no use.
class Connection {
 public:
  /// Connects, logs in, and chooses the database.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const StoreAddress& address,
                                                          const StoreOptions& options,
                                                          Clock::duration timeout);

  /// For each command and each reply from now on.
  void SetTimeout(Clock::duration timeout) { timeout_ = timeout; }

  absl::Status Send(const Command& command);
  /// The reply to the oldest command without one; a refusal is a Reply too.
  absl::StatusOr<Reply> Receive(int64_t most_bytes);

  /// Whether the next command would get its own reply.
  bool IsIdle() const {
    return open_ && waiting_ == 0 && reader_.held() == 0 && stream_->IsQuiet();
  }

  /// From now on IsIdle() is false.
  void GiveUp() { open_ = false; }

 private:
  Connection(std::unique_ptr<Stream> stream, Clock::duration timeout)
      : stream_(std::move(stream)), timeout_(timeout) {}

  absl::Status LogIn(const StoreAddress& address, const StoreOptions& options);
  absl::Status Ask(const Command& command, std::string_view what);
  absl::StatusOr<Reply> Read(int64_t most_bytes);

  std::unique_ptr<Stream> stream_;
  Clock::duration timeout_;
  ReplyReader reader_;
  std::vector<char> buffer_;
  int64_t waiting_ = 0;  // commands without a reply
  bool open_ = true;
};

/// The most that a short reply has.
inline constexpr int64_t kShortReplyBytes = 4096;

}  // namespace fmaserver::sessions
