// The states of a session, and the parts that they are made of.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/archive.h"

namespace fmaserver::sessions {

/// The bytes of a part in memory: those of a slot, or a chunk, whose memory is the engine's.
struct PartBytes {
  PartBytes() = default;
  // Implicit, because a part is one of the two.
  PartBytes(engine::SnapshotPtr bytes) : slot(std::move(bytes)) {}       // NOLINT
  PartBytes(engine::ArchiveChunkPtr piece) : chunk(std::move(piece)) {}  // NOLINT

  /// Whether they are in memory.
  explicit operator bool() const { return slot != nullptr || chunk != nullptr; }

  /// The bytes to store: of a chunk a copy, with the device's errors.
  absl::StatusOr<engine::SnapshotPtr> Read() const {
    return chunk == nullptr ? absl::StatusOr<engine::SnapshotPtr>(slot) : chunk->Save();
  }

  engine::SnapshotPtr slot = {};
  engine::ArchiveChunkPtr chunk = {};
};

/// Bytes that never change and that sessions share: the slot of a state, or a chunk of an archive.
/// Wherever a part is kept, the same id means the same bytes.
struct Part {
  enum class Kind : uint8_t { kSlot, kChunk };

  Kind kind = Kind::kSlot;
  std::string id;      ///< 22 random characters
  int64_t begin = 0;   ///< a chunk's first token; 0 for a slot
  int64_t tokens = 0;  ///< how many tokens a slot has read; the token after a chunk's last
  int64_t bytes = 0;

  // Guarded by the table's mutex once a session of the table holds the part.
  PartBytes memory = {};        ///< on the shelf only unless they are there
  uint64_t used_tick = 0;       ///< when it was last used, like Session::used_tick
  int64_t holders = 0;          ///< how many states of sessions hold it
  int64_t durable_holders = 0;  ///< how many of these belong to durable sessions
  int64_t parked_heads = 0;     ///< sessions that are in memory exactly while this slot is

  /// What it takes of the sessions' memory when it is in memory. Chunks count in the engine's
  /// budget of archives, where whoever else holds them shares them.
  int64_t memory_bytes() const { return kind == Kind::kSlot ? bytes : 0; }
};

using PartPtr = std::shared_ptr<Part>;

/// A state that a turn can start from or a rewind can go back to.
struct Point {
  PartPtr slot;
  bool turn_end = false;
  std::vector<PartPtr> archive = {};  ///< chunks in the order of their tokens, up to this state

  int64_t tokens() const { return slot->tokens; }
};

/// Limits of one session. Its record lists the chunks, once more for each point that does not share
/// them with the point before, and must fit into kMaxRecordHeaderBytes. Mentions of chunks by
/// points are limited because a hostile record could make a server allocate them.
inline constexpr int64_t kMaxChunks = int64_t{1} << 16;
inline constexpr int64_t kMaxChunkMentions = int64_t{1} << 20;
inline constexpr int64_t kMaxChunkBytes = int64_t{1} << 32;

/// Makes a point of a state from the engine, with its slot and its chunks in memory. `before` is
/// the archive of an earlier point, whose parts it shares.
Point MakePoint(engine::State state, bool turn_end, const std::vector<PartPtr>& before = {});

/// The parts of a point: its slot, then its archive.
std::vector<PartPtr> PartsOf(const Point& point);

/// The parts of all points, each once, in the order in which the points name them.
std::vector<PartPtr> PartsOf(const std::vector<Point>& points);

/// How many chunks an archive shares with the beginning of another.
int64_t SharedChunks(const std::vector<PartPtr>& archive, const std::vector<PartPtr>& before);

/// INVALID_ARGUMENT unless `id`, which messages call `what`, can be the id of a part.
absl::Status CheckPartId(std::string_view what, std::string_view id);

/// INVALID_ARGUMENT says what is wrong with the archives: chunks without an id, empty, too large,
/// too many, out of order, or past their state.
absl::Status CheckArchives(const std::vector<Point>& points);

}  // namespace fmaserver::sessions
