// Everything a sequence needs to go on: its slot and, for models that keep one, its archive.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/snapshot.h"

namespace fmaserver::engine {

/// A piece of an archive: what the model keeps for good about tokens [begin, bytes->tokens()).
/// Never changed, and shared by all states that contain these tokens.
struct ArchiveChunk {
  std::string id;  ///< RandomId(); the same id means the same bytes
  int64_t begin = 0;
  SnapshotPtr bytes = {};
};

using ArchiveChunkPtr = std::shared_ptr<const ArchiveChunk>;

/// Chunks in the order of their tokens; their tokens do not overlap. A sequence only ever adds to
/// its end.
using Archive = std::vector<ArchiveChunkPtr>;

/// The state of a sequence after exactly slot->tokens() tokens. Models without an archive leave it
/// empty.
struct State {
  State() = default;
  // Implicit: to most models the slot is the whole state.
  State(SnapshotPtr slot_bytes, Archive chunks = {})  // NOLINT(google-explicit-constructor)
      : slot(std::move(slot_bytes)), archive(std::move(chunks)) {}

  SnapshotPtr slot;  ///< null: no token has been read yet, or there is no state
  Archive archive;
};

}  // namespace fmaserver::engine
