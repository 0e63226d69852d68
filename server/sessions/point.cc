#include "server/sessions/point.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "base/id.h"
#include "base/names.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::sessions {
namespace {

absl::Status CheckArchive(const Point& point) {
  int64_t end = 0;
  for (const PartPtr& chunk : point.archive) {
    if (absl::Status status = CheckPartId("id of a chunk", chunk->id); !status.ok()) return status;
    if (!(chunk->begin >= end && chunk->tokens > chunk->begin && chunk->tokens <= point.tokens())) {
      return Refusal("chunk", Words{Concat("tokens ", chunk->begin, " to ", chunk->tokens)},
                     Concat("one or more of the tokens ", end, " to ", point.tokens()));
    }
    if (!(chunk->bytes > 0 && chunk->bytes <= kMaxChunkBytes)) {
      return Refusal("chunk", Words{Concat(chunk->bytes, " bytes")},
                     Concat(FromTo<int64_t>(1, kMaxChunkBytes), " bytes"));
    }
    end = chunk->tokens;
  }
  return absl::OkStatus();
}

}  // namespace

Point MakePoint(engine::State state, bool turn_end, const std::vector<PartPtr>& before) {
  Point point{.slot = std::make_shared<Part>(Part{.id = RandomId(),
                                                  .tokens = state.slot->tokens(),
                                                  .bytes = std::ssize(state.slot->bytes()),
                                                  .memory = std::move(state.slot)}),
              .turn_end = turn_end};
  for (const engine::ArchiveChunkPtr& chunk : state.archive) {
    const size_t index = point.archive.size();
    const bool known = index < before.size() && before[index]->id == chunk->id();
    point.archive.push_back(known ? before[index]
                                  : std::make_shared<Part>(Part{.kind = Part::Kind::kChunk,
                                                                .id = chunk->id(),
                                                                .begin = chunk->begin(),
                                                                .tokens = chunk->end(),
                                                                .bytes = chunk->bytes(),
                                                                .memory = chunk}));
  }
  return point;
}

std::vector<PartPtr> PartsOf(const Point& point) {
  std::vector<PartPtr> parts = {point.slot};
  parts.insert(parts.end(), point.archive.begin(), point.archive.end());
  return parts;
}

std::vector<PartPtr> PartsOf(const std::vector<Point>& points) {
  std::vector<PartPtr> parts;
  std::set<std::string_view> seen;
  const std::vector<PartPtr> none;
  const std::vector<PartPtr>* before = &none;
  const auto add = [&](const PartPtr& part) {
    if (seen.insert(part->id).second) parts.push_back(part);
  };
  for (const Point& point : points) {
    add(point.slot);
    // Long archives share most of their chunks with the point before.
    const int64_t shared = SharedChunks(point.archive, *before);
    std::for_each(point.archive.begin() + shared, point.archive.end(), add);
    before = &point.archive;
  }
  return parts;
}

int64_t SharedChunks(const std::vector<PartPtr>& archive, const std::vector<PartPtr>& before) {
  const auto same = [](const PartPtr& a, const PartPtr& b) { return a == b || a->id == b->id; };
  return std::ranges::mismatch(archive, before, same).in1 - archive.begin();
}

absl::Status CheckPartId(std::string_view what, std::string_view id) {
  if (id.size() == kRandomIdChars && IsName(id)) return absl::OkStatus();
  return Refusal(what, id, Concat(kRandomIdChars, " of A-Z a-z 0-9 _ and -"));
}

absl::Status CheckArchives(const std::vector<Point>& points) {
  int64_t mentions = 0;
  int64_t listed = 0;
  const std::vector<PartPtr> none;
  const std::vector<PartPtr>* before = &none;
  for (const Point& point : points) {
    if (absl::Status status = CheckArchive(point); !status.ok()) return status;
    mentions += std::ssize(point.archive);
    listed += std::ssize(point.archive) - SharedChunks(point.archive, *before);
    before = &point.archive;
  }
  if (listed <= kMaxChunks && mentions <= kMaxChunkMentions) return absl::OkStatus();
  return Refusal("archive", Words{Concat(listed, " chunks, listed ", mentions, " times")},
                 Concat("up to ", kMaxChunks, " chunks, listed ", kMaxChunkMentions, " times"));
}

}  // namespace fmaserver::sessions
