// Where sessions are kept so that they outlive the server: a directory, or a store on the network.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/sessions/session_contents.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// A session as the shelf has it.
struct StoredSession {
  SessionName name;
  SessionContents contents;  ///< without the tail and without the parts' bytes
  Version version;
};

/// A part to save. Without bytes the shelf has it already, under the name of the plan's source.
struct PartToSave {
  PartPtr part;
  PartBytes bytes;
};

/// What to save, and for whom.
struct SavePlan {
  SessionContents contents;               ///< with its tail
  std::vector<PartToSave> slots = {};     ///< of contents.points
  std::vector<PartToSave> chunks = {};    ///< the last of contents.chunks: those to be written
  SessionName source = {};                ///< under whose name the shelf has the saved parts
  Version expected = {};                  ///< of the source's record
  std::vector<SessionName> targets = {};  ///< the source itself, or new sessions of its tenant
  std::vector<ShelfItem> dropped = {};    ///< what the source no longer holds
};

/// The result of saving.
struct Saved {
  Version version = {};      ///< of the records that all targets have from now on
  absl::Status synced = {};  ///< OK: they survive a crash, and the plan's dropped items are gone
  /// Of the plan's contents, as they are from now on: a chunk that was written has become a part of
  /// the volume that it was written to, whose bytes are in memory as before.
  ChunkList chunks = {};
  std::string volume = {};
  /// Ascending: what the plan takes to be on the shelf and is not, because that has lost it. Then
  /// nothing was saved, and everything else here says nothing.
  std::vector<ShelfItem> lost = {};
};

/// An item that stays readable, whatever happens to its session and its record.
class OpenItem {
 public:
  virtual ~OpenItem() = default;

  /// The bytes of a part that lies in it. DATA_LOSS when they are damaged, UNAVAILABLE when the
  /// shelf fails.
  virtual absl::StatusOr<engine::SnapshotPtr> Read(const Part& part) const = 0;
};

/// Keeps a record for each session and, under the session's name, the parts that its states are
/// made of. Sessions share a part without a copy of its bytes where the shelf can. Several servers
/// may use one shelf: nothing is locked between two calls, and a caller that changes a session says
/// which version it has seen.
///
/// Thread-safe. Calls may take as long as a disk or a network takes, and must end: a shelf on the
/// network has deadlines of its own. Errors, besides those named below: UNAVAILABLE when the shelf
/// fails; DATA_LOSS for a damaged session or part, which a shelf may set aside, so that no later
/// call meets it, but no volume, because its other chunks are sound; FAILED_PRECONDITION
/// for a record of another model or a newer format, which is left alone.
class StateShelf {
 public:
  virtual ~StateShelf() = default;

  /// The sessions on the shelf, or none where there may be too many: those are found when they are
  /// used. Called once, before all other calls. Removes what servers that ended early have left
  /// behind, but nothing that a damaged record may list.
  virtual absl::StatusOr<std::vector<StoredSession>> Recover() = 0;

  /// Ids of the tenant's sessions, in any order.
  virtual absl::StatusOr<std::vector<std::string>> Ids(const std::string& tenant) const = 0;

  /// The session, or nothing when its record is still the `known` one. NOT_FOUND when there is
  /// none.
  virtual absl::StatusOr<std::optional<StoredSession>> Read(const SessionName& name,
                                                            const Version& known) const = 0;

  /// The tail of a session. ABORTED when its record is not the `expected` one; NOT_FOUND.
  virtual absl::StatusOr<std::shared_ptr<Tail>> ReadTail(const SessionName& name,
                                                         const Version& expected) const = 0;

  /// Something of a session. DATA_LOSS when it is missing.
  virtual absl::StatusOr<std::unique_ptr<OpenItem>> Open(const SessionName& name,
                                                         const ShelfItem& item) const = 0;

  /// Gives all targets the contents: first the parts, then the records that list them. What is
  /// written of the chunks goes behind the others of contents.volume, or into a new volume when
  /// there is none, when it is full, or when it does not end with them. ABORTED when the source's
  /// record is not the expected one because another server was faster. An error changes nothing.
  virtual absl::StatusOr<Saved> Save(const SavePlan& plan) = 0;

  /// Removes a session, first its record and then these `items`. ABORTED as in Save.
  virtual absl::Status Remove(const SessionName& name, const Version& expected,
                              const std::vector<ShelfItem>& items) = 0;
};

}  // namespace fmaserver::sessions
