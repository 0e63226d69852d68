#include "server/sessions/shelf/redis/connection.h"

#include <hiredis/hiredis.h>

#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::sessions {
namespace {

constexpr size_t kPieceBytes = 256 << 10;

struct FreeCommand {
  void operator()(char* command) const { redisFreeCommand(command); }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const StoreAddress& address,
                                                             const StoreOptions& options,
                                                             Clock::duration timeout) {
  auto stream = Stream::Connect(address, options, timeout);
  if (!stream.ok()) return stream.status();
  auto connection = absl::WrapUnique(new Connection(*std::move(stream), timeout));
  if (absl::Status status = connection->LogIn(address, options); !status.ok()) return status;
  return connection;
}

absl::Status Connection::LogIn(const StoreAddress& address, const StoreOptions& options) {
  if (!options.login.empty()) {
    const absl::StatusOr<StoreLogin> login = ReadStoreLogin(options.login);
    if (!login.ok()) return absl::UnavailableError(login.status().message());
    // Stores before version 6 know no users.
    const Command command = login->user == "default"
                                ? Command{"AUTH", login->password}
                                : Command{"AUTH", login->user, login->password};
    if (absl::Status status = Ask(command, "the login"); !status.ok()) return status;
  }
  if (address.database == 0) return absl::OkStatus();
  const std::string database = Concat(address.database);
  return Ask({"SELECT", database}, Concat("database ", database));
}

// The words of a refusal are not repeated: they may quote the command, which may be a login.
absl::Status Connection::Ask(const Command& command, std::string_view what) {
  if (absl::Status status = Send(command); !status.ok()) return status;
  const absl::StatusOr<Reply> reply = Receive(kShortReplyBytes);
  if (!reply.ok()) return reply.status();
  if (reply->kind != Reply::Kind::kError) return absl::OkStatus();
  const std::string_view code = std::string_view(reply->text).substr(0, reply->text.find(' '));
  return absl::UnavailableError(Concat("it refuses ", what, ": ", Quoted(code)));
}

absl::Status Connection::Send(const Command& command) {
  std::vector<const char*> words;
  std::vector<size_t> sizes;
  for (const std::string_view word : command) {
    words.push_back(word.data());
    sizes.push_back(word.size());
  }
  char* bytes = nullptr;
  const auto size =
      redisFormatCommandArgv(&bytes, static_cast<int>(words.size()), words.data(), sizes.data());
  if (size < 0) return absl::ResourceExhaustedError("no memory for a command");
  const std::unique_ptr<char, FreeCommand> owned(bytes);
  ++waiting_;
  stream_->Allow(timeout_);
  absl::Status status = stream_->Write({bytes, static_cast<size_t>(size)});
  if (!status.ok()) GiveUp();
  return status;
}

absl::StatusOr<Reply> Connection::Receive(int64_t most_bytes) {
  stream_->Allow(timeout_);
  absl::StatusOr<Reply> reply = Read(most_bytes);
  if (reply.ok()) {
    --waiting_;
  } else {
    GiveUp();
  }
  return reply;
}

absl::StatusOr<Reply> Connection::Read(int64_t most_bytes) {
  buffer_.resize(kPieceBytes);
  for (;;) {
    absl::StatusOr<std::optional<Reply>> reply = reader_.Take();
    if (!reply.ok()) return reply.status();
    if (reply->has_value()) return **std::move(reply);
    // Replies to commands that follow may have come too, but those are short.
    if (static_cast<int64_t>(reader_.held()) > most_bytes + kShortReplyBytes * waiting_) {
      return absl::DataLossError(
          Refusal("its reply", Words{"longer"}, Concat("up to ", most_bytes, " bytes")).message());
    }
    const absl::StatusOr<size_t> size = stream_->Read(buffer_);
    if (!size.ok()) return size.status();
    if (absl::Status status = reader_.Add({buffer_.data(), *size}); !status.ok()) return status;
  }
}

}  // namespace fmaserver::sessions
