// What a session holds: everything that its record says, whether or not the bytes are in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/sessions/point.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// The part of a session that may be long, and leaves memory with its states.
struct Tail {
  std::vector<int32_t> log = {};  ///< the last tokens
  std::string request = {};       ///< InterruptedTurn.request
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

struct SessionContents {
  int64_t tokens = 0;
  int64_t log_begin = 0;            ///< the log holds tokens [log_begin, tokens)
  std::shared_ptr<Tail> tail = {};  ///< null: on the shelf only
  std::vector<Point> points = {};   ///< ascending counts, at most `tokens`; the last is the head
  std::optional<Interruption> interruption = {};
  double ttl_seconds = 0;
  bool pinned = false;

  int64_t head_tokens() const { return points.empty() ? 0 : points.back().tokens(); }
};

/// Forgets the log's tokens before token `begin`, but none after the head. Like Rewound, it needs
/// contents.tail.
void TrimLog(SessionContents& contents, int64_t begin);

/// Drops points (thinning.h) until at most `limit` are left besides the head.
void ThinPoints(std::vector<Point>& points, int64_t limit);

/// What is left of `contents` when everything past the first `tokens` (0..contents.tokens) is
/// forgotten; SessionStore::Rewind says where it lands. The interrupted turn is dropped too.
SessionContents Rewound(const SessionContents& contents, int64_t tokens);

}  // namespace fmaserver::sessions
