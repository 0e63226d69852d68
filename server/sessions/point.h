// The states of a session, and the parts that they are made of.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/engine/archive.h"

namespace fmaserver::sessions {

/// Bytes that never change and that sessions share: the slot of a state, or a chunk of an archive.
/// Whoever holds the id finds the same bytes wherever a part of that id is kept.
struct Part {
  enum class Kind : uint8_t { kSlot, kChunk };

  Kind kind = Kind::kSlot;
  std::string id;      ///< 22 random characters
  int64_t begin = 0;   ///< of a chunk: its first token; of a slot 0
  int64_t tokens = 0;  ///< of a slot: how many it has read; of a chunk: the token after its last
  int64_t bytes = 0;

  // Guarded by the table's mutex once a session of the table holds the part.
  engine::SnapshotPtr memory = {};  ///< null: on the shelf only
  uint64_t used_tick = 0;           ///< when it was last used, as Session::used_tick
  int64_t holders = 0;              ///< states of sessions that it belongs to
  int64_t durable_holders = 0;      ///< those whose sessions are on the shelf as they are
  int64_t parked_heads = 0;         ///< sessions that are in memory exactly while this slot is
};

using PartPtr = std::shared_ptr<Part>;

/// A state that a turn can start from, or a rewind go back to.
struct Point {
  PartPtr slot;
  bool turn_end = false;
  std::vector<PartPtr> archive = {};  ///< chunks in the order of their tokens, up to this state

  int64_t tokens() const { return slot->tokens; }
};

/// More chunks than that in one session are refused, counted again for each point that does not
/// share them with the point before, because its record lists them: it must fit into
/// kMaxRecordHeaderBytes. So are more mentions by points, for a hostile record makes a server
/// allocate them.
inline constexpr int64_t kMaxChunks = 4096;
inline constexpr int64_t kMaxChunkMentions = int64_t{1} << 18;
inline constexpr int64_t kMaxChunkBytes = int64_t{1} << 32;

/// A state that has come from the engine, with its slot and its chunks in memory.
Point MakePoint(engine::State state, bool turn_end);

/// The parts of a point: its slot, then its archive.
std::vector<PartPtr> PartsOf(const Point& point);

/// The parts of all points, each once, in the order in which the points name them.
std::vector<PartPtr> PartsOf(const std::vector<Point>& points);

/// How many chunks an archive shares with the beginning of another.
int64_t SharedChunks(const std::vector<PartPtr>& archive, const std::vector<PartPtr>& before);

/// What is wrong with the archives: chunks without an id, empty, too large, too many, out of order
/// or past their state. INVALID_ARGUMENT.
absl::Status CheckArchives(const std::vector<Point>& points);

}  // namespace fmaserver::sessions
