#include "server/sessions/session_contents.h"

#include <algorithm>
#include <cstddef>

#include "server/sessions/thinning.h"

namespace fmaserver::sessions {

std::vector<PartPtr> PartsOf(const SessionContents& contents, const Point& point) {
  std::vector<PartPtr> parts = {point.slot};
  const std::span<const PartPtr> chunks = contents.chunks.First(point.chunks);
  parts.insert(parts.end(), chunks.begin(), chunks.end());
  return parts;
}

std::vector<PartPtr> PartsOf(const SessionContents& contents) {
  std::vector<PartPtr> parts;
  parts.reserve(contents.points.size() + contents.chunks->size());
  for (const Point& point : contents.points) parts.push_back(point.slot);
  parts.insert(parts.end(), contents.chunks->begin(), contents.chunks->end());
  return parts;
}

std::vector<ShelfItem> ItemsOf(const SessionContents& contents) {
  std::vector<ShelfItem> items;
  for (const Point& point : contents.points) items.push_back({Part::Kind::kSlot, point.slot->id});
  const std::string* volume = nullptr;
  for (const PartPtr& chunk : *contents.chunks) {
    if (volume == nullptr || *volume != chunk->id) {
      items.push_back({Part::Kind::kChunk, chunk->id});
    }
    volume = &chunk->id;
  }
  std::ranges::sort(items);
  items.erase(std::unique(items.begin(), items.end()), items.end());
  return items;
}

void TrimChunks(SessionContents& contents) {
  int64_t needed = 0;
  for (const Point& point : contents.points) needed = std::max(needed, point.chunks);
  if (needed == std::ssize(*contents.chunks)) return;
  const std::span<const PartPtr> kept = contents.chunks.First(needed);
  contents.chunks = ChunkList({kept.begin(), kept.end()});
}

void TrimLog(SessionContents& contents, int64_t begin) {
  begin = std::min(begin, contents.head_tokens());
  if (begin <= contents.log_begin) return;
  auto tail = std::make_shared<Tail>();
  const std::vector<int32_t>& log = contents.tail->log;
  tail->log.assign(log.begin() + (begin - contents.log_begin), log.end());
  tail->request = contents.tail->request;
  tail->note = contents.tail->note;
  contents.tail = std::move(tail);
  contents.log_begin = begin;
}

void DropNote(SessionContents& contents) {
  if (contents.tail->note.empty()) return;
  contents.tail =
      std::make_shared<Tail>(Tail{.log = contents.tail->log, .request = contents.tail->request});
}

void ThinPoints(std::vector<Point>& points, int64_t limit) {
  while (std::ssize(points) > limit + 1) {
    std::vector<RewindPoint> candidates;
    candidates.reserve(points.size());
    for (const Point& point : points) candidates.push_back({point.tokens(), point.turn_end});
    points.erase(points.begin() + static_cast<ptrdiff_t>(PointToDrop(candidates)));
  }
}

SessionContents Rewound(const SessionContents& contents, int64_t tokens) {
  SessionContents next = contents;
  std::erase_if(next.points, [tokens](const Point& point) { return point.tokens() > tokens; });
  const bool covered = contents.log_begin <= next.head_tokens();
  TrimChunks(next);
  next.tokens = covered ? tokens : next.head_tokens();
  next.log_begin = std::min(contents.log_begin, next.tokens);
  next.interruption.reset();
  next.tail = std::make_shared<Tail>();
  const std::vector<int32_t>& log = contents.tail->log;
  next.tail->log.assign(log.begin(), log.begin() + (next.tokens - next.log_begin));
  return next;
}

}  // namespace fmaserver::sessions
