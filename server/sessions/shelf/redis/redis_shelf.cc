#include "server/sessions/shelf/redis/redis_shelf.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/memory/memory.h"
#include "base/names.h"
#include "base/refusal.h"
#include "base/text.h"
#include "server/sessions/session_codec.h"
#include "server/sessions/session_name.h"
#include "server/sessions/shelf/redis/open_item.h"
#include "server/sessions/shelf/redis/scripts.h"
#include "server/sessions/shelf/redis/stored_record.h"

namespace fmaserver::sessions {
namespace {

// A header, the longest log, the longest request and the longest note.
constexpr int64_t kMaxRecordBytes = int64_t{256} << 20;
constexpr int64_t kMaxIdsBytes = int64_t{256} << 20;

// Reads of one session need not each set its expiry: it may be so much early.
constexpr char kExpirySlackMs[] = "60000";

}  // namespace

absl::Status StoredBadly(const std::string& key, const absl::Status& status) {
  if (status.code() != absl::StatusCode::kInvalidArgument) return At(key, status);
  const std::string message = Concat(key, ": ", status.message());
  spdlog::error("{}", message);
  return absl::DataLossError(message);
}

absl::Status ForeignReply(const StoreClient& client) {
  return absl::UnavailableError(
      Concat("session store ", client.name(), ": its reply is not one of this server's scripts"));
}

absl::StatusOr<std::unique_ptr<StateShelf>> RedisShelf::Open(const StoreOptions& options,
                                                             const SessionModel& model,
                                                             SessionObserver& observer, Now now,
                                                             int64_t volume_bytes) {
  if (model.slot_bytes > kMaxValueBytes - int64_t{kMaxRecordHeaderBytes}) {
    return Refusal(
        "bytes of a state", model.slot_bytes,
        Concat("up to ", kMaxValueBytes - int64_t{kMaxRecordHeaderBytes}, " with --session-store"));
  }
  auto client = StoreClient::Open(options, observer, std::move(now));
  if (!client.ok()) return client.status();
  return absl::WrapUnique(new RedisShelf(*std::move(client), model, volume_bytes));
}

absl::StatusOr<std::vector<StoredSession>> RedisShelf::Recover() {
  if (const absl::StatusOr<Reply> reply = client_->Call({"PING"}); reply.ok()) {
    spdlog::info("session store {}: it answers", client_->name());
  } else {
    spdlog::warn("sessions go on in memory only until it answers: {}",
                 std::string(reply.status().message()));
  }
  return std::vector<StoredSession>();
}

absl::StatusOr<std::vector<std::string>> RedisShelf::Ids(const std::string& tenant) const {
  absl::StatusOr<Reply> reply =
      client_->Call(ScriptCall(IdsScript(), {keys_.Index(tenant)}, {}), kMaxIdsBytes);
  if (!reply.ok()) return reply.status();
  std::vector<std::string> ids;
  for (Reply& id : reply->list) {
    if (!id.is_text() || !IsName(id.text)) return ForeignReply(*client_);
    ids.push_back(std::move(id.text));
  }
  return ids;
}

absl::StatusOr<RedisShelf::Found> RedisShelf::Fetch(const SessionName& name,
                                                    const Version& known) const {
  absl::StatusOr<Reply> reply =
      client_->Call(ScriptCall(ReadScript(), KeysOf(name),
                               {known.value, open_saves_.Of(name), name.id, kExpirySlackMs}),
                    kMaxRecordBytes);
  if (!reply.ok()) return reply.status();
  std::vector<Reply>& list = reply->list;
  if (list.empty() || list.size() > 2 || !list.front().is_text() || !list.back().is_text()) {
    return ForeignReply(*client_);
  }
  const Version version{list.front().text};
  if (list.size() == 1) return Found{.version = version, .record = {}, .is_known = true};
  if (version != Version()) return Found{.version = version, .record = std::move(list[1].text)};
  const std::string& epoch = list[1].text;
  const bool is_removed =
      known.value.starts_with(Concat(epoch, ".")) && !open_saves_.Has(name, known);
  if (known == Version() || is_removed) {
    return absl::NotFoundError(Concat(Describe(name), ": there is none"));
  }
  return absl::UnavailableError(Concat("session store ", client_->name(),
                                       ": it has lost what it had; ", Describe(name),
                                       " is saved again with its next change"));
}

absl::StatusOr<std::optional<StoredSession>> RedisShelf::Read(const SessionName& name,
                                                              const Version& known) const {
  absl::StatusOr<Found> found = Fetch(name, known);
  if (absl::IsNotFound(found.status())) open_saves_.Forget(name);
  if (!found.ok()) return found.status();
  if (found->is_known) return std::nullopt;
  open_saves_.Forget(name);
  const std::string key = keys_.Session(name);
  const auto header = ReadStoredHeader(found->record, model_);
  if (!header.ok()) return StoredBadly(key, header.status());
  absl::StatusOr<SessionContents> contents = ContentsFromHeader(*header, model_);
  if (!contents.ok()) return StoredBadly(key, contents.status());
  return StoredSession{
      .name = name, .contents = *std::move(contents), .version = std::move(found->version)};
}

absl::StatusOr<std::shared_ptr<Tail>> RedisShelf::ReadTail(const SessionName& name,
                                                           const Version& expected) const {
  const absl::StatusOr<Found> found = Fetch(name, Version());
  if (!found.ok()) return found.status();
  if (found->version != expected) return ChangedByAnother(name);
  internal::RecordHeader header;
  std::string payload;
  absl::Status status = ReadStoredRecord(
      found->record, model_,
      [&](const internal::RecordHeader& read) -> absl::StatusOr<std::span<std::byte>> {
        if (auto checked = ContentsFromHeader(read, model_); !checked.ok()) return checked.status();
        header = read;
        payload.resize(read.payload_bytes());
        return std::as_writable_bytes(std::span(payload));
      });
  if (!status.ok()) return StoredBadly(keys_.Session(name), status);
  auto tail = TailFromPayload(header, payload, model_);
  if (!tail.ok()) return StoredBadly(keys_.Session(name), tail.status());
  return tail;
}

absl::StatusOr<std::unique_ptr<OpenItem>> RedisShelf::Open(const SessionName& name,
                                                           const ShelfItem& item) const {
  const std::string key = keys_.Item(name.tenant, item);
  absl::StatusOr<Reply> reply =
      client_->Call({"GET", key}, kMaxValueBytes + int64_t{kMaxRecordHeaderBytes});
  if (!reply.ok()) return reply.status();
  if (reply->kind == Reply::Kind::kNil) {
    return absl::DataLossError(Concat(key, ": the bytes of a state are missing"));
  }
  if (!reply->is_text()) return ForeignReply(*client_);
  return std::make_unique<ItemInMemory>(key, std::move(reply->text), model_);
}

absl::Status RedisShelf::Remove(const SessionName& name, const Version& expected,
                                const std::vector<ShelfItem>& /*items*/) {
  const absl::StatusOr<Reply> reply = client_->Call(
      ScriptCall(RemoveScript(), KeysOf(name), {expected.value, open_saves_.Of(name), name.id}));
  if (!reply.ok()) return reply.status();
  if (reply->list.empty()) return ForeignReply(*client_);
  if (reply->list.front().text != "removed") return ChangedByAnother(name);
  open_saves_.Forget(name);
  return absl::OkStatus();
}

}  // namespace fmaserver::sessions
