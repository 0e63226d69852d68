#include "server/sessions/session_memory.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace fmaserver::sessions {
namespace {

int64_t BytesOf(const Tail& tail) {
  return static_cast<int64_t>(tail.log.size() * sizeof(int32_t) + tail.request.size() +
                              tail.note.size());
}

// The slot that decides whether the session is in memory; null when no slot decides it.
Part* DecidingSlot(const Session& session) {
  const SessionContents& contents = session.holding.contents;
  if (session.turn || contents.tail == nullptr || contents.points.empty()) return nullptr;
  return contents.points.back().slot.get();
}

/// Whether chunks of the session are in memory.
bool HasArchive(const Session& session) {
  const SessionContents& contents = session.holding.contents;
  return std::ranges::any_of(contents.points, [&contents](const Point& point) {
    return point.chunks > 0 && (*contents.chunks)[point.chunks - 1]->memory;
  });
}

/// How many chunks are the same in both holdings and count in the same way. A turn adds to a long
/// list, and counts only what it has added.
size_t SharedChunks(const Holding& a, const Holding& b) {
  if (a.durable != b.durable) return 0;
  const std::vector<PartPtr>& chunks = *a.contents.chunks;
  return std::ranges::mismatch(chunks, *b.contents.chunks).in1 - chunks.begin();
}

}  // namespace

bool SessionMemory::PartOrder::operator()(const PartPtr& a, const PartPtr& b) const {
  const auto all = [](const Part& part) {
    return std::tie(part.id, part.number, part.kind, part.begin, part.tokens, part.bytes,
                    part.type);
  };
  return all(*a) < all(*b);
}

SessionPlace PlaceOf(const Session& session) {
  if (session.turn) return SessionPlace::kActive;
  if (session.holding.contents.tail == nullptr) return SessionPlace::kOnDisk;
  const Part* slot = DecidingSlot(session);
  return slot == nullptr || slot->memory ? SessionPlace::kInMemory : SessionPlace::kOnDisk;
}

int64_t& SessionMemory::CountOf(SessionPlace place) {
  switch (place) {
    case SessionPlace::kActive:
      return stats_.active;
    case SessionPlace::kInMemory:
      return stats_.in_memory;
    case SessionPlace::kOnDisk:
      break;
  }
  return stats_.on_disk;
}

void SessionMemory::CountPlace(const Session& session, int64_t change) {
  if (!session.exists) return;
  CountOf(PlaceOf(session)) += change;
  if (Part* slot = DecidingSlot(session)) slot->parked_heads += change;
}

void SessionMemory::Set(Session& session, Holding holding) {
  CountPlace(session, -1);
  const size_t shared = SharedChunks(session.holding, holding);
  // The new contents first, so that what both have in common never stops being counted.
  Count(holding.contents, holding.durable, shared);
  Discount(session.holding.contents, session.holding.durable, shared);
  session.holding = std::move(holding);
  const bool is_new = !std::exchange(session.exists, true);
  CountPlace(session, 1);
  if (is_new) Use(session);
}

void SessionMemory::Clear(Session& session) {
  CountPlace(session, -1);
  Unpark(session);
  Discount(session.holding.contents, session.holding.durable, /*first=*/0);
  session.holding = {};
  session.exists = false;
}

void SessionMemory::Count(SessionContents& contents, bool durable, size_t first) {
  for (Point& point : contents.points) CountPart(point.slot, durable);
  CountChunks(contents.chunks, durable, first);
  Tail* tail = contents.tail.get();
  if (tail != nullptr && tail->holders++ == 0) stats_.memory_bytes += BytesOf(*tail);
}

void SessionMemory::CountChunks(ChunkList& chunks, bool durable, size_t first) {
  std::vector<PartPtr> known(chunks->begin() + static_cast<ptrdiff_t>(first), chunks->end());
  for (PartPtr& chunk : known) CountPart(chunk, durable);
  if (std::equal(known.begin(), known.end(), chunks->begin() + static_cast<ptrdiff_t>(first))) {
    return;
  }
  known.insert(known.begin(), chunks->begin(), chunks->begin() + static_cast<ptrdiff_t>(first));
  chunks = ChunkList(std::move(known));
}

void SessionMemory::CountPart(PartPtr& part, bool durable) {
  const auto [known, is_new] = parts_.insert(part);
  const PartPtr given = std::exchange(part, *known);
  if (is_new && part->memory) stats_.memory_bytes += part->memory_bytes();
  if (!is_new && given->memory) Attach(*part, given->memory);
  ++part->holders;
  if (durable && part->durable_holders++ == 0) stats_.disk_bytes += part->bytes;
}

void SessionMemory::Discount(const SessionContents& contents, bool durable, size_t first) {
  for (const Point& point : contents.points) DiscountPart(point.slot, durable);
  for (size_t i = first; i < contents.chunks->size(); ++i) {
    DiscountPart((*contents.chunks)[i], durable);
  }
  Tail* tail = contents.tail.get();
  if (tail != nullptr && --tail->holders == 0) stats_.memory_bytes -= BytesOf(*tail);
}

void SessionMemory::DiscountPart(const PartPtr& part, bool durable) {
  if (durable && --part->durable_holders == 0) stats_.disk_bytes -= part->bytes;
  if (--part->holders > 0) return;
  if (part->memory) stats_.memory_bytes -= part->memory_bytes();
  parts_.erase(part);
}

void SessionMemory::Attach(Part& part, PartBytes bytes) {
  if (part.memory) return;
  part.memory = std::move(bytes);
  stats_.in_memory += part.parked_heads;
  stats_.on_disk -= part.parked_heads;
  if (part.holders > 0) stats_.memory_bytes += part.memory_bytes();
}

void SessionMemory::Detach(Part& part) {
  if (!part.memory) return;
  part.memory = {};
  stats_.in_memory -= part.parked_heads;
  stats_.on_disk += part.parked_heads;
  stats_.memory_bytes -= part.memory_bytes();
}

void SessionMemory::Attach(Session& session, std::shared_ptr<Tail> tail) {
  std::shared_ptr<Tail>& held = session.holding.contents.tail;
  if (held != nullptr) return;
  CountPlace(session, -1);
  held = std::move(tail);
  if (held->holders++ == 0) stats_.memory_bytes += BytesOf(*held);
  CountPlace(session, 1);
}

void SessionMemory::SetTurn(Session& session, bool live) {
  CountPlace(session, -1);
  session.turn = live;
  CountPlace(session, 1);
}

void SessionMemory::Use(Session& session) {
  const bool parked = session.parked;
  Unpark(session);
  session.used_tick = ++tick_;
  for (const PartPtr& part : PartsOf(session.holding.contents)) part->used_tick = tick_;
  if (parked) Park(session);
}

void SessionMemory::Park(Session& session) {
  // A session without its log in memory has already given back all it can.
  if (!session.exists || session.holding.contents.tail == nullptr) return;
  session.parked = true;
  parked_.emplace(session.used_tick, &session);
}

void SessionMemory::Unpark(Session& session) {
  if (std::exchange(session.parked, false)) parked_.erase(session.used_tick);
}

bool SessionMemory::Free(int64_t bytes) {
  const int64_t goal = budget_ - reserved_bytes_ - bytes;
  while (stats_.memory_bytes > goal && !parked_.empty()) {
    Session& oldest = *parked_.begin()->second;
    Unpark(oldest);
    if (oldest.holding.durable) {
      LeaveMemory(oldest);
    } else {
      DropRewindPoints(oldest);
    }
  }
  return stats_.memory_bytes <= goal;
}

void SessionMemory::DropArchives(const std::string& tenant, absl::FunctionRef<bool()> enough) {
  for (auto next = parked_.begin(); next != parked_.end();) {
    Session& session = *(next++)->second;
    if (!session.holding.durable || !HasArchive(session)) continue;
    if (!tenant.empty() && session.name.tenant != tenant) continue;
    Unpark(session);
    LeaveMemory(session);
    if (enough()) return;
  }
}

void SessionMemory::LeaveMemory(Session& session) {
  CountPlace(session, -1);
  for (const PartPtr& part : PartsOf(session.holding.contents)) {
    // Parts that a more recently used session shares stay, and so do those that are nowhere else.
    if (part->used_tick > session.used_tick) continue;
    if (part->durable_holders < part->holders) continue;
    Detach(*part);
  }
  const std::shared_ptr<Tail> tail = std::exchange(session.holding.contents.tail, nullptr);
  if (tail != nullptr && --tail->holders == 0) stats_.memory_bytes -= BytesOf(*tail);
  CountPlace(session, 1);
}

void SessionMemory::DropRewindPoints(Session& session) {
  if (session.holding.contents.points.size() <= 1) return;
  Holding holding = session.holding;
  std::vector<Point>& points = holding.contents.points;
  points.erase(points.begin(), points.end() - 1);
  TrimChunks(holding.contents);
  Set(session, std::move(holding));
}

}  // namespace fmaserver::sessions
