#include "server/sessions/shelf/redis/open_item.h"

#include "base/refusal.h"
#include "base/text.h"
#include "server/sessions/session_codec.h"
#include "server/sessions/shelf/read_part.h"
#include "server/sessions/shelf/redis/redis_shelf.h"
#include "server/sessions/shelf/redis/stored_record.h"

namespace fmaserver::sessions {
namespace {

/// The bytes of the part's record; empty when the item is too short.
std::string_view RecordOf(const Part& part, std::string_view bytes, const SessionModel& model) {
  if (part.kind == Part::Kind::kSlot) return bytes;
  const int64_t size = RecordBytes(PartHeader(part, model), part.bytes);
  // Dividing cannot overflow.
  if (part.number >= std::ssize(bytes) / size) return {};
  return bytes.substr(static_cast<size_t>(part.number * size), static_cast<size_t>(size));
}

}  // namespace

absl::StatusOr<engine::SnapshotPtr> ItemInMemory::Read(const Part& part) const {
  auto bytes = ReadPart(part, model_, [&](AllocatePayload allocate) {
    return ReadStoredRecord(RecordOf(part, bytes_, model_), model_, allocate);
  });
  if (bytes.ok()) return bytes;
  return StoredBadly(key_, At(Concat("state up to token ", part.tokens), bytes.status()));
}

}  // namespace fmaserver::sessions
