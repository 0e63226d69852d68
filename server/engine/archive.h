// Everything a sequence needs to go on: its slot and, for models that open units of their far past,
// its archive.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/snapshot.h"

namespace fmaserver::kernels {
class ArchiveGroup;
}  // namespace fmaserver::kernels

namespace fmaserver::engine {

/// A piece of an archive: what the model keeps for good about tokens [begin, end). It never
/// changes, all states that contain these tokens share it, and its memory is free again when nobody
/// holds it any more. Any thread may hold it.
class ArchiveChunk {
 public:
  ArchiveChunk(int64_t begin, int64_t end, int64_t bytes)
      : begin_(begin), end_(end), bytes_(bytes) {}
  virtual ~ArchiveChunk() = default;
  ArchiveChunk(const ArchiveChunk&) = delete;
  ArchiveChunk& operator=(const ArchiveChunk&) = delete;

  int64_t begin() const { return begin_; }
  int64_t end() const { return end_; }
  int64_t bytes() const { return bytes_; }

  /// A copy of its bytes as they are stored; its tokens() is end(). The errors are the device's,
  /// and UNAVAILABLE for a chunk that is lost.
  virtual absl::StatusOr<SnapshotPtr> Save() const = 0;

  /// Whether its bytes are gone, because the disk that has them failed. Any thread may ask.
  virtual bool lost() const { return false; }

  /// What the steps of its engine read; null for a chunk that no engine made.
  virtual kernels::ArchiveGroup* group() const { return nullptr; }

 private:
  const int64_t begin_;
  const int64_t end_;
  const int64_t bytes_;
};

using ArchiveChunkPtr = std::shared_ptr<const ArchiveChunk>;

/// Chunks in the order of their tokens, of equal size and one behind the other from the first token
/// on. A sequence only ever adds to its end.
using Archive = std::vector<ArchiveChunkPtr>;

/// How many chunks an archive has at most. Everything that lists them is bounded by it.
inline constexpr int64_t kMaxArchiveChunks = int64_t{1} << 20;

/// The state of a sequence after exactly slot->tokens() tokens. It has no archive when the sequence
/// is served in constant memory.
struct State {
  State() = default;
  // Implicit: to most models the slot is the whole state.
  State(SnapshotPtr slot_bytes, Archive chunks = {})  // NOLINT(google-explicit-constructor)
      : slot(std::move(slot_bytes)), archive(std::move(chunks)) {}

  int64_t tokens() const { return slot == nullptr ? 0 : slot->tokens(); }

  SnapshotPtr slot;  ///< null: no token has been read yet, or there is no state
  Archive archive;
};

/// Memory that is set aside for chunks. What is not used is free again when the room is destroyed.
/// Used by one thread at a time.
class ArchiveRoom {
 public:
  virtual ~ArchiveRoom() = default;

  /// The chunk that was saved as these bytes. INVALID_ARGUMENT when it is none of this model; no
  /// more chunks than there is room for.
  virtual absl::StatusOr<ArchiveChunkPtr> Restore(int64_t begin, const Snapshot& bytes) = 0;
};

/// Where chunks that were saved get their memory again. Thread-safe.
class ArchiveSource {
 public:
  virtual ~ArchiveSource() = default;

  /// INVALID_ARGUMENT unless the chunks of this model have `bytes` bytes for `tokens` tokens each.
  virtual absl::Status CheckChunk(uint64_t tokens, uint64_t bytes) const = 0;

  /// Room for `chunks` chunks that count as the tenant's. RESOURCE_EXHAUSTED gives the numbers.
  virtual absl::StatusOr<std::unique_ptr<ArchiveRoom>> MakeRoom(const std::string& tenant,
                                                                int64_t chunks) = 0;
};

}  // namespace fmaserver::engine
