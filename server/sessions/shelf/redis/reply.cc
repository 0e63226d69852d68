#include "server/sessions/shelf/redis/reply.h"

#include <utility>

#include "base/text.h"

namespace fmaserver::sessions {
namespace {

/// Puts a reply into the list that is being read, or by itself. A list's elements are complete
/// before the next one comes, so that nobody keeps a pointer to one while the list grows.
Reply* Place(const redisReadTask* task, Reply reply) {
  if (task->parent == nullptr) return new Reply(std::move(reply));
  auto& list = static_cast<Reply*>(task->parent->obj)->list;
  return &list.emplace_back(std::move(reply));
}

void* MakeString(const redisReadTask* task, char* text, size_t size) {
  const auto kind = task->type == REDIS_REPLY_ERROR ? Reply::Kind::kError : Reply::Kind::kText;
  return Place(task, {.kind = kind, .text = std::string(text, size)});
}

// Nothing is reserved: the number of elements is only what the other end says.
void* MakeArray(const redisReadTask* task, int /*elements*/) {
  return Place(task, {.kind = Reply::Kind::kList});
}

void* MakeInteger(const redisReadTask* task, long long number) {  // NOLINT(google-runtime-int)
  return Place(task, {.kind = Reply::Kind::kNumber, .number = number});
}

void* MakeNil(const redisReadTask* task) { return Place(task, {}); }

void Free(void* reply) { delete static_cast<Reply*>(reply); }

redisReplyObjectFunctions functions = {MakeString, MakeArray, MakeInteger, MakeNil, Free};

}  // namespace

ReplyReader::ReplyReader() : reader_(redisReaderCreateWithFunctions(&functions)) {}

absl::Status ReplyReader::Add(std::string_view bytes) {
  if (redisReaderFeed(reader_.get(), bytes.data(), bytes.size()) == REDIS_OK) {
    return absl::OkStatus();
  }
  return absl::DataLossError(redisReaderGetError(reader_.get()));
}

absl::StatusOr<std::optional<Reply>> ReplyReader::Take() {
  void* reply = nullptr;
  if (redisReaderGetReply(reader_.get(), &reply) != REDIS_OK) {
    return absl::DataLossError(
        Concat("not its protocol: ", Quoted(redisReaderGetError(reader_.get()))));
  }
  if (reply == nullptr) return std::nullopt;
  const std::unique_ptr<Reply> owned(static_cast<Reply*>(reply));
  return std::move(*owned);
}

}  // namespace fmaserver::sessions
