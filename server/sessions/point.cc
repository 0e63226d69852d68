#include "server/sessions/point.h"

#include <utility>

#include "base/id.h"
#include "base/names.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::sessions {
namespace {

absl::Status CheckChunk(const Part& chunk, int64_t begin, int64_t tokens, int64_t bytes) {
  const int64_t end = begin + tokens;
  if (tokens > 0 && chunk.begin == begin && chunk.tokens == end && chunk.bytes == bytes) {
    return absl::OkStatus();
  }
  return Refusal(
      "chunk",
      Words{Concat(chunk.bytes, " bytes for the tokens ", chunk.begin, " to ", chunk.tokens)},
      Concat(bytes, " bytes for one or more tokens from ", begin, " on, as many as in the first"));
}

}  // namespace

Point MakePoint(engine::State state, bool turn_end, std::vector<PartPtr>& chunks) {
  const std::string volume = RandomId();
  for (int64_t i = std::ssize(chunks), number = 0; i < std::ssize(state.archive); ++i, ++number) {
    const engine::ArchiveChunkPtr& chunk = state.archive[i];
    chunks.push_back(std::make_shared<Part>(Part{.kind = Part::Kind::kChunk,
                                                 .id = volume,
                                                 .number = number,
                                                 .begin = chunk->begin(),
                                                 .tokens = chunk->end(),
                                                 .bytes = chunk->bytes(),
                                                 .memory = chunk}));
  }
  return {.slot = std::make_shared<Part>(Part{.id = RandomId(),
                                              .tokens = state.slot->tokens(),
                                              .bytes = std::ssize(state.slot->bytes()),
                                              .type = state.slot->type(),
                                              .memory = std::move(state.slot)}),
          .turn_end = turn_end,
          .chunks = std::ssize(state.archive)};
}

absl::Status CheckPartId(std::string_view what, std::string_view id) {
  if (id.size() == kRandomIdChars && IsName(id)) return absl::OkStatus();
  return Refusal(what, id, Concat(kRandomIdChars, " of A-Z a-z 0-9 _ and -"));
}

absl::Status CheckChunks(const std::vector<PartPtr>& chunks, const std::vector<Point>& points) {
  const int64_t count = std::ssize(chunks);
  if (count > kMaxChunks) return Refusal("number of chunks", count, Concat("up to ", kMaxChunks));
  const int64_t tokens = count == 0 ? 0 : chunks.front()->tokens;
  const int64_t bytes = count == 0 ? 1 : chunks.front()->bytes;
  if (!(bytes > 0 && bytes <= kMaxChunkBytes)) {
    return Refusal("chunk", Words{Concat(bytes, " bytes")},
                   Concat(FromTo<int64_t>(1, kMaxChunkBytes), " bytes"));
  }
  for (int64_t i = 0; i < count; ++i) {
    absl::Status status = CheckChunk(*chunks[i], i * tokens, tokens, bytes);
    if (!status.ok()) return status;
  }
  for (const Point& point : points) {
    if (point.chunks >= 0 && point.chunks <= count && point.chunks * tokens <= point.tokens()) {
      continue;
    }
    return Refusal(
        "archive", Words{Concat(point.chunks, " chunks of ", tokens, " tokens")},
        Concat("up to ", count, ", within the ", point.tokens(), " tokens of their state"));
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::sessions
