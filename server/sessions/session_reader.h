// How the store finds and loads sessions as they are now, and their bytes.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/archive.h"
#include "server/sessions/claim.h"
#include "server/sessions/part_loader.h"
#include "server/sessions/session_table.h"
#include "server/sessions/session_writer.h"
#include "server/sessions/state_shelf.h"

namespace fmaserver::sessions {

/// A part that can be read without a claim: in memory, or open on the shelf.
struct HeldPart {
  PartPtr part;
  PartBytes bytes;                 ///< absent when `open` is not null
  std::shared_ptr<OpenItem> open;  ///< where it lies; null when `bytes` are there
};

/// A state, and whether the shelf was read for it.
struct LoadedState {
  engine::State state;
  bool from_shelf = false;
};

/// Thread-safe; calls wait for the shelf. Errors: INVALID_ARGUMENT for an invalid name, and the
/// shelf's.
class SessionReader {
 public:
  /// `shelf` may be null; all outlive the reader.
  SessionReader(SessionTable& table, StateShelf* shelf, PartLoader& loader, SessionWriter& writer,
                SessionObserver& observer)
      : table_(table), shelf_(shelf), loader_(loader), writer_(writer), observer_(observer) {}

  /// Claims the session as it is now, even when another server has changed it. During a turn it is
  /// as it was before the turn. NOT_FOUND also for an expired session, which is removed.
  absl::StatusOr<SessionTable::AnyClaim> Find(const SessionName& name);
  absl::StatusOr<ReadClaim> FindToRead(const SessionName& name);
  /// The same, to change the session. ABORTED while a turn is live.
  absl::StatusOr<ChangeClaim> FindToChange(const SessionName& name);

  /// Claims the name of a session that is to be made. ALREADY_EXISTS when there is such a session.
  absl::StatusOr<ChangeClaim> ClaimNew(const SessionName& name);

  /// What a session holds, with its tail. Like LoadState, ABORTED when another server has removed
  /// it.
  absl::StatusOr<SessionContents> Load(const Claim& claim);

  /// The state of one of the points of `contents`, which it holds, without its archive unless
  /// `with_archive` or where this server keeps none. RESOURCE_EXHAUSTED when there is no room for
  /// the archive.
  absl::StatusOr<LoadedState> LoadState(const Claim& claim, const SessionContents& contents,
                                        const Point& point, bool with_archive);

  /// Parts of the session, which stay readable after the claim has ended.
  absl::StatusOr<std::vector<HeldPart>> Hold(const Claim& claim, const std::vector<PartPtr>& parts);

 private:
  absl::Status Refresh(const ChangeClaim& claim);

  SessionTable& table_;
  StateShelf* const shelf_;
  PartLoader& loader_;
  SessionWriter& writer_;
  SessionObserver& observer_;
};

/// ABORTED, for a call that needs the session for itself while another call uses it.
absl::Status InUse(const SessionName& name);
absl::Status AlreadyExists(const SessionName& name);

}  // namespace fmaserver::sessions
