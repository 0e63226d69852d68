// What a session holds: everything that its record says, whether or not the bytes are in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "server/sessions/point.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// The part of a session that may be long, and leaves memory with its states.
struct Tail {
  std::vector<int32_t> log = {};  ///< the last tokens
  std::string request = {};       ///< InterruptedTurn.request
  std::string note = {};          ///< what the last turn's caller left with it; opaque
  int64_t holders = 0;            ///< sessions that hold it; guarded by the table's mutex
};

/// An interrupted turn, without its request.
struct Interruption {
  std::string token;  ///< for BeginResume
  uint64_t seed = 0;
  int64_t generated = 0;
  int64_t first_token = 0;  ///< where the turn began
  RequestFormat format = RequestFormat::kApiMessage;
};

/// Chunks in the order of their tokens, never changed once they are in a list: copies of a
/// session's contents share it, however long it is.
class ChunkList {
 public:
  ChunkList() = default;
  explicit ChunkList(std::vector<PartPtr> chunks)
      : chunks_(std::make_shared<const std::vector<PartPtr>>(std::move(chunks))) {}

  const std::vector<PartPtr>& operator*() const {
    static const std::vector<PartPtr> none;
    return chunks_ == nullptr ? none : *chunks_;
  }
  const std::vector<PartPtr>* operator->() const { return &**this; }

  /// The first `count`.
  std::span<const PartPtr> First(int64_t count) const {
    return std::span(**this).first(static_cast<size_t>(count));
  }

 private:
  std::shared_ptr<const std::vector<PartPtr>> chunks_;
};

struct SessionContents {
  int64_t tokens = 0;
  int64_t log_begin = 0;            ///< the log holds tokens [log_begin, tokens)
  std::shared_ptr<Tail> tail = {};  ///< null: on the shelf only
  std::vector<Point> points = {};   ///< ascending counts, at most `tokens`; the last is the head
  ChunkList chunks = {};            ///< of the archives of all points
  std::string volume = {};  ///< the shelf's key of the one that it may add chunks to, or empty
  std::optional<Interruption> interruption = {};
  double ttl_seconds = 0;
  bool pinned = false;

  int64_t head_tokens() const { return points.empty() ? 0 : points.back().tokens(); }
};

/// The parts of a state: its slot, then the chunks of its archive.
std::vector<PartPtr> PartsOf(const SessionContents& contents, const Point& point);

/// All parts: the slots of the points in their order, then the chunks.
std::vector<PartPtr> PartsOf(const SessionContents& contents);

/// Where a shelf keeps these parts, each item once.
std::vector<ShelfItem> ItemsOf(const SessionContents& contents);

/// Forgets chunks that belong to no point.
void TrimChunks(SessionContents& contents);

/// Forgets the log's tokens before token `begin`, but none after the head. Like Rewound, it needs
/// contents.tail.
void TrimLog(SessionContents& contents, int64_t begin);

/// Forgets the note. It needs contents.tail, which others may hold too.
void DropNote(SessionContents& contents);

/// Drops points (thinning.h) until at most `limit` are left besides the head.
void ThinPoints(std::vector<Point>& points, int64_t limit);

/// What is left of `contents` when everything past the first `tokens` (0..contents.tokens) is
/// forgotten; SessionStore::Rewind says where it lands. The interrupted turn and the note are
/// dropped too.
SessionContents Rewound(const SessionContents& contents, int64_t tokens);

}  // namespace fmaserver::sessions
