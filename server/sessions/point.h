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
#include "kernels/fma/cache_type.h"
#include "server/engine/archive.h"

namespace fmaserver::sessions {

/// The bytes of a part in memory: those of a slot, or a chunk, whose memory is the engine's.
struct PartBytes {
  PartBytes() = default;
  // Implicit, because a part is one of the two.
  PartBytes(engine::SnapshotPtr bytes) : slot(std::move(bytes)) {}       // NOLINT
  PartBytes(engine::ArchiveChunkPtr piece) : chunk(std::move(piece)) {}  // NOLINT

  /// Whether they are in memory.
  explicit operator bool() const { return slot != nullptr || (chunk != nullptr && !chunk->lost()); }

  /// The bytes to store: of a chunk a copy, with the device's errors.
  absl::StatusOr<engine::SnapshotPtr> Read() const {
    return chunk == nullptr ? absl::StatusOr<engine::SnapshotPtr>(slot) : chunk->Save();
  }

  engine::SnapshotPtr slot = {};
  engine::ArchiveChunkPtr chunk = {};
};

/// Bytes that never change and that sessions share: the slot of a state, or a chunk of an archive.
/// Wherever a part is kept, the same kind, id and number mean the same bytes.
struct Part {
  enum class Kind : uint8_t { kSlot, kChunk };

  Kind kind = Kind::kSlot;
  std::string id;      ///< 22 random characters: a slot's own, or those of a chunk's volume
  int64_t number = 0;  ///< a chunk's place in its volume, from 0; 0 for a slot
  int64_t begin = 0;   ///< a chunk's first token; 0 for a slot
  int64_t tokens = 0;  ///< how many tokens a slot has read; the token after a chunk's last
  int64_t bytes = 0;
  kernels::CacheType type{};  ///< of a slot's elements

  // Guarded by the table's mutex once a session of the table holds the part.
  PartBytes memory = {};        ///< on the shelf only unless they are there
  uint64_t used_tick = 0;       ///< when it was last used, like Session::used_tick
  int64_t holders = 0;          ///< how often sessions hold it
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
  int64_t chunks = 0;  ///< its archive: so many of the first chunks of its session

  int64_t tokens() const { return slot->tokens; }
};

/// What lies on a shelf under the name of a session: a slot, or a volume of chunks. A volume takes
/// chunks of one session, of any number of its turns, one after the other; sessions that share its
/// chunks share the volume.
struct ShelfItem {
  Part::Kind kind = Part::Kind::kSlot;
  std::string id;

  bool operator==(const ShelfItem&) const = default;
  // The linter takes the zero that `<` compares it with for a pointer.
  auto operator<=>(const ShelfItem&) const = default;  // NOLINT(modernize-use-nullptr)
};

/// Limits of one session. The number of chunks is limited because a hostile record could make a
/// server allocate as many parts; requests are admitted within it.
inline constexpr int64_t kMaxChunks = engine::kMaxArchiveChunks;
inline constexpr int64_t kMaxChunkBytes = int64_t{1} << 32;

/// Makes a point of a state from the engine, with its slot and its chunks in memory. `chunks` are
/// those of the session so far, to which it adds the state's others: a text has one archive, of
/// which its states have seen more or less, so chunks for the same tokens are the same.
Point MakePoint(engine::State state, bool turn_end, std::vector<PartPtr>& chunks);

/// INVALID_ARGUMENT unless `id`, which messages call `what`, can be the id of a part.
absl::Status CheckPartId(std::string_view what, std::string_view id);

/// INVALID_ARGUMENT says what is wrong with the chunks of a session: they are not of equal size and
/// one behind the other, empty, too large, too many, or more than a point has tokens for.
absl::Status CheckChunks(const std::vector<PartPtr>& chunks, const std::vector<Point>& points);

}  // namespace fmaserver::sessions
