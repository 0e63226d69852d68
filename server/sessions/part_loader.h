// How parts of sessions come from the shelf into memory.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/archive.h"
#include "server/sessions/claim.h"
#include "server/sessions/session_table.h"
#include "server/sessions/state_shelf.h"

namespace fmaserver::sessions {

/// Thread-safe; calls wait for the shelf.
class PartLoader {
 public:
  /// `shelf` may be null, when all parts are in memory, and so may `archives`, when no chunk is
  /// ever loaded. All outlive the loader.
  PartLoader(SessionTable& table, StateShelf* shelf, engine::ArchiveSource* archives)
      : table_(table), shelf_(shelf), archives_(archives) {}

  /// Opens what is on the shelf. ABORTED when another server has changed or removed the session.
  absl::StatusOr<std::unique_ptr<OpenItem>> Open(const Claim& claim, const ShelfItem& item) const;

  /// The bytes of these parts of the session, which are in memory from then on. RESOURCE_EXHAUSTED
  /// when there is no room for chunks; FAILED_PRECONDITION for chunks where there are no archives.
  absl::StatusOr<std::vector<PartBytes>> Load(const Claim& claim,
                                              const std::vector<PartPtr>& parts) const;

  /// Whether chunks can be loaded.
  bool has_archives() const { return archives_ != nullptr; }

 private:
  absl::StatusOr<std::unique_ptr<engine::ArchiveRoom>> MakeRoom(const Claim& claim,
                                                                int64_t chunks) const;

  SessionTable& table_;
  StateShelf* const shelf_;
  engine::ArchiveSource* const archives_;
};

/// Opens the parts of a session one after the other, each volume once for all its chunks in a row.
/// One thread at a time.
class PartOpener {
 public:
  /// Both outlive the opener.
  PartOpener(const PartLoader& loader, const Claim& claim) : loader_(loader), claim_(claim) {}

  /// PartLoader::Open.
  absl::StatusOr<std::shared_ptr<OpenItem>> Open(const Part& part);

 private:
  const PartLoader& loader_;
  const Claim& claim_;
  ShelfItem item_;
  std::shared_ptr<OpenItem> open_;  // item_, unless null
};

}  // namespace fmaserver::sessions
