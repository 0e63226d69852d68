// RedisShelf::Save: write what is new with a short time to live, then one script.
#include <algorithm>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/id.h"
#include "base/text.h"
#include "server/sessions/session_codec.h"
#include "server/sessions/session_name.h"
#include "server/sessions/shelf/redis/redis_shelf.h"
#include "server/sessions/shelf/redis/script.h"
#include "server/sessions/shelf/redis/scripts.h"
#include "server/sessions/shelf/redis/stored_record.h"

namespace fmaserver::sessions {
namespace {

/// How long an item lives that no record lists yet.
constexpr char kUnlistedMs[] = "600000";

/// `chunk` as number `number` of a volume.
absl::StatusOr<PartPtr> MakeChunk(const PartToSave& chunk, const std::string& volume,
                                  int64_t number) {
  if (!chunk.bytes) {
    return absl::InternalError(Concat("the chunk up to token ", chunk.part->tokens,
                                      " is neither in memory nor under the session's name"));
  }
  return std::make_shared<Part>(Part{.kind = Part::Kind::kChunk,
                                     .id = volume,
                                     .number = number,
                                     .begin = chunk.part->begin,
                                     .tokens = chunk.part->tokens,
                                     .bytes = chunk.part->bytes,
                                     .memory = chunk.bytes});
}

std::string TtlMs(const SessionContents& contents) {
  if (contents.pinned || contents.ttl_seconds == 0) return "0";
  constexpr double kMsPerSecond = 1000;
  return Concat(
      static_cast<int64_t>((contents.ttl_seconds + RedisShelf::kMarginSeconds) * kMsPerSecond));
}

}  // namespace

/// One run of Save.
class RedisShelf::Saving {
 public:
  Saving(RedisShelf& shelf, const SavePlan& plan)
      : shelf_(shelf), plan_(plan), contents_(plan.contents) {}
  Saving(const Saving&) = delete;
  Saving& operator=(const Saving&) = delete;

  absl::StatusOr<Saved> Run();

 private:
  std::string Key(const ShelfItem& item) const {
    return shelf_.keys_.Item(plan_.source.tenant, item);
  }

  absl::Status FindSlots();
  absl::Status SendSlots();
  absl::Status SendChunks();
  absl::Status SendItem(const std::string& key, std::string_view bytes);
  absl::Status SendRecord();
  absl::StatusOr<Saved> ReceiveAll();
  absl::StatusOr<Saved> Judge(const absl::StatusOr<Reply>& reply);
  absl::Status Secure();
  std::vector<ShelfItem> LostItems(const std::vector<Reply>& keys) const;

  RedisShelf& shelf_;
  const SavePlan& plan_;
  SessionContents contents_;  // the plan's, with its chunks where they lie from now on
  const std::string stamp_ = RandomId();
  std::set<std::string> there_;  // keys of slots that the store has
  int64_t written_ = 0;          // items that were sent
  std::optional<ScriptCall> record_;
  int64_t key_bytes_ = 0;  // of all items, with what the protocol puts around them
  std::unique_ptr<Exchange> exchange_;
};

absl::Status RedisShelf::Saving::FindSlots() {
  std::vector<std::string> keys;
  for (const PartToSave& slot : plan_.slots) {
    if (slot.bytes) keys.push_back(Key({Part::Kind::kSlot, slot.part->id}));
  }
  for (const std::string& key : keys) {
    if (absl::Status status = exchange_->Send({"EXISTS", key}); !status.ok()) return status;
  }
  for (const std::string& key : keys) {
    const absl::StatusOr<Reply> reply = exchange_->Receive();
    if (!reply.ok()) return reply.status();
    if (reply->number == 1) there_.insert(key);
  }
  return absl::OkStatus();
}

absl::Status RedisShelf::Saving::SendItem(const std::string& key, std::string_view bytes) {
  ++written_;
  return exchange_->Send({"SET", key, bytes, "PX", kUnlistedMs});
}

absl::Status RedisShelf::Saving::SendSlots() {
  for (const PartToSave& slot : plan_.slots) {
    const std::string key = Key({Part::Kind::kSlot, slot.part->id});
    if (!slot.bytes || there_.contains(key)) continue;
    const absl::StatusOr<engine::SnapshotPtr> bytes = slot.bytes.Read();
    if (!bytes.ok()) return bytes.status();
    const SealedRecord record =
        SealRecord(PartHeader(*slot.part, shelf_.model_), (*bytes)->bytes());
    if (absl::Status status = SendItem(key, BytesOf(record)); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status RedisShelf::Saving::SendChunks() {
  const auto stored = std::ssize(*contents_.chunks) - std::ssize(plan_.chunks);
  const std::span<const PartPtr> before = contents_.chunks.First(stored);
  std::vector<PartPtr> chunks(before.begin(), before.end());
  std::string volume;  // its bytes
  std::string id = RandomId();
  int64_t number = 0;
  const auto send = [&] {
    return SendItem(Key({Part::Kind::kChunk, std::exchange(id, RandomId())}),
                    std::exchange(volume, {}));
  };
  for (const PartToSave& chunk : plan_.chunks) {
    absl::StatusOr<PartPtr> part = MakeChunk(chunk, id, number++);
    if (!part.ok()) return part.status();
    const absl::StatusOr<engine::SnapshotPtr> bytes = chunk.bytes.Read();
    if (!bytes.ok()) return bytes.status();
    volume += BytesOf(SealRecord(PartHeader(**part, shelf_.model_), (*bytes)->bytes()));
    chunks.push_back(*std::move(part));
    if (std::ssize(volume) < shelf_.volume_bytes_) continue;
    number = 0;
    if (absl::Status status = send(); !status.ok()) return status;
  }
  contents_.chunks = ChunkList(std::move(chunks));
  return volume.empty() ? absl::OkStatus() : send();
}

absl::Status RedisShelf::Saving::SendRecord() {
  contents_.volume.clear();  // nobody adds to a volume
  std::vector<std::string> items;
  for (const ShelfItem& item : ItemsOf(contents_)) {
    constexpr int64_t kAround = 16;
    items.push_back(Key(item));
    key_bytes_ += std::ssize(items.back()) + kAround;
  }
  std::vector<std::string> targets;
  for (const SessionName& target : plan_.targets) {
    targets.push_back(target.id);
    shelf_.open_saves_.Add(target, stamp_);
  }
  const SessionName& source = plan_.source;
  const std::string payload = SessionPayload(*contents_.tail);
  std::string record = BytesOf(
      SealRecord(SessionHeader(contents_, shelf_.model_), std::as_bytes(std::span(payload))));
  record_.emplace(SaveScript(), shelf_.KeysOf(source),
                  std::vector<std::string>{
                      stamp_, plan_.expected.value, shelf_.open_saves_.Of(source), source.id,
                      absl::StrJoin(targets, " "), shelf_.keys_.Sessions(source.tenant),
                      absl::StrJoin(items, " "), std::move(record), TtlMs(contents_)});
  return exchange_->Send(*record_);
}

absl::Status RedisShelf::Saving::Secure() {
  absl::Status status = exchange_->AwaitReplicas();
  for (const SessionName& target : plan_.targets) {
    if (status.ok()) {
      shelf_.open_saves_.Forget(target);
      continue;
    }
    // A replica that takes over may have what was there before, or nothing.
    if (target == plan_.source) shelf_.open_saves_.Add(target, StampOf(plan_.expected));
    shelf_.open_saves_.Add(target, stamp_);
  }
  return status;
}

std::vector<ShelfItem> RedisShelf::Saving::LostItems(const std::vector<Reply>& keys) const {
  std::vector<ShelfItem> lost;
  for (ShelfItem& item : ItemsOf(contents_)) {
    const std::string key = Key(item);
    const auto is_it = [&](const Reply& reply) { return reply.is_text() && reply.text == key; };
    if (std::ranges::any_of(keys, is_it)) lost.push_back(std::move(item));
  }
  return lost;
}

absl::StatusOr<Saved> RedisShelf::Saving::Judge(const absl::StatusOr<Reply>& reply) {
  const std::string verdict =
      !reply.ok() || reply->list.empty() ? std::string() : reply->list.front().text;
  if (verdict == "saved" && (reply->list.size() != 2 || !reply->list[1].is_text())) {
    return ForeignReply(*shelf_.client_);
  }
  if (verdict == "saved") {
    return Saved{.version = {reply->list[1].text},
                 .synced = Secure(),
                 .chunks = contents_.chunks,
                 .volume = {}};
  }
  if (verdict == "changed") return ChangedByAnother(plan_.source);
  if (verdict == "missing") {
    std::vector<ShelfItem> lost = LostItems(reply->list);
    if (!lost.empty()) return Saved{.lost = std::move(lost)};
  }
  return reply.ok() ? ForeignReply(*shelf_.client_) : reply.status();
}

absl::StatusOr<Saved> RedisShelf::Saving::ReceiveAll() {
  absl::Status refused;  // the first of the items'
  for (int64_t i = 0; i < written_; ++i) {
    const absl::StatusOr<Reply> reply = exchange_->Receive();
    if (refused.ok()) refused = reply.status();
    if (!exchange_->answers()) return refused;
  }
  const absl::StatusOr<Reply> reply = exchange_->Receive(*record_, kShortReplyBytes + key_bytes_);
  if (!exchange_->answers()) return reply.status();
  for (const SessionName& target : plan_.targets) shelf_.open_saves_.Remove(target, stamp_);
  absl::StatusOr<Saved> saved = Judge(reply);
  // Without an item that it refused the store refuses the record too, for a less telling reason.
  const bool is_saved = saved.ok() && saved->lost.empty();
  return is_saved || refused.ok() || absl::IsAborted(saved.status()) ? saved : refused;
}

absl::StatusOr<Saved> RedisShelf::Saving::Run() {
  absl::StatusOr<std::unique_ptr<Exchange>> exchange = shelf_.client_->Begin();
  if (!exchange.ok()) return exchange.status();
  exchange_ = *std::move(exchange);
  if (absl::Status status = FindSlots(); !status.ok()) return status;
  if (absl::Status status = SendSlots(); !status.ok()) return status;
  if (absl::Status status = SendChunks(); !status.ok()) return status;
  if (absl::Status status = SendRecord(); !status.ok()) return status;
  return ReceiveAll();
}

absl::StatusOr<Saved> RedisShelf::Save(const SavePlan& plan) { return Saving(*this, plan).Run(); }

}  // namespace fmaserver::sessions
