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
  ArchiveChunk(std::string id, int64_t begin, int64_t end, int64_t bytes)
      : id_(std::move(id)), begin_(begin), end_(end), bytes_(bytes) {}
  virtual ~ArchiveChunk() = default;
  ArchiveChunk(const ArchiveChunk&) = delete;
  ArchiveChunk& operator=(const ArchiveChunk&) = delete;

  const std::string& id() const { return id_; }  ///< RandomId(); the same id means the same bytes
  int64_t begin() const { return begin_; }
  int64_t end() const { return end_; }
  int64_t bytes() const { return bytes_; }

  /// A copy of its bytes as they are stored; its tokens() is end(). The errors are the device's.
  virtual absl::StatusOr<SnapshotPtr> Save() const = 0;

  /// What the steps of its engine read; null for a chunk that no engine made.
  virtual kernels::ArchiveGroup* group() const { return nullptr; }

 private:
  const std::string id_;
  const int64_t begin_;
  const int64_t end_;
  const int64_t bytes_;
};

using ArchiveChunkPtr = std::shared_ptr<const ArchiveChunk>;

/// Chunks in the order of their tokens; their tokens do not overlap. A sequence only ever adds to
/// its end.
using Archive = std::vector<ArchiveChunkPtr>;

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

  /// The chunk of this id that was saved as these bytes. INVALID_ARGUMENT when it is none of this
  /// model; no more chunks than there is room for.
  virtual absl::StatusOr<ArchiveChunkPtr> Restore(std::string id, int64_t begin,
                                                  const Snapshot& bytes) = 0;
};

/// Where chunks that were saved get their memory again. Thread-safe.
class ArchiveSource {
 public:
  virtual ~ArchiveSource() = default;

  /// INVALID_ARGUMENT unless a chunk of this model may consist of `bytes` bytes for tokens
  /// [begin, end).
  virtual absl::Status CheckChunk(int64_t begin, int64_t end, int64_t bytes) const = 0;

  /// Room for `chunks` chunks that count as the tenant's. RESOURCE_EXHAUSTED gives the numbers.
  virtual absl::StatusOr<std::unique_ptr<ArchiveRoom>> MakeRoom(const std::string& tenant,
                                                                int64_t chunks) = 0;
};

}  // namespace fmaserver::engine
