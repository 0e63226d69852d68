// What the store finds and loads: sessions as they are now, and their bytes.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/archive.h"
#include "server/sessions/claim.h"
#include "server/sessions/session_table.h"
#include "server/sessions/session_writer.h"
#include "server/sessions/state_shelf.h"

namespace fmaserver::sessions {

/// A part that can be read without a claim: in memory, or open on the shelf.
struct HeldPart {
  PartPtr part;
  engine::SnapshotPtr bytes;       ///< or
  std::unique_ptr<OpenPart> open;  ///< null when `bytes` is there
};

/// Thread-safe; calls wait for the shelf. INVALID_ARGUMENT for a name that is none, and the shelf's
/// errors.
class SessionReader {
 public:
  /// `shelf` may be null; all outlive the reader.
  SessionReader(SessionTable& table, StateShelf* shelf, SessionWriter& writer,
                SessionObserver& observer)
      : table_(table), shelf_(shelf), writer_(writer), observer_(observer) {}

  /// The session as it is now, also when another server changed it. During a turn, as before it.
  /// NOT_FOUND also when it has expired, for then it is removed.
  absl::StatusOr<SessionTable::AnyClaim> Find(const SessionName& name);
  absl::StatusOr<ReadClaim> FindToRead(const SessionName& name);
  /// ABORTED while a turn is live.
  absl::StatusOr<ChangeClaim> FindToChange(const SessionName& name);

  /// The name for a session that is to be made. ALREADY_EXISTS.
  absl::StatusOr<ChangeClaim> ClaimNew(const SessionName& name);

  /// What a session holds, with its tail. ABORTED when another server has removed it, as for
  /// LoadState.
  absl::StatusOr<SessionContents> Load(const Claim& claim);

  /// The bytes of one of its points.
  absl::StatusOr<engine::State> LoadState(const Claim& claim, const Point& point);

  /// Parts of the session that stay readable when the claim has ended.
  absl::StatusOr<std::vector<HeldPart>> Hold(const Claim& claim, const std::vector<PartPtr>& parts);

 private:
  absl::Status Refresh(const ChangeClaim& claim);
  absl::StatusOr<std::unique_ptr<OpenPart>> Open(const Claim& claim, const PartPtr& part);

  SessionTable& table_;
  StateShelf* const shelf_;
  SessionWriter& writer_;
  SessionObserver& observer_;
};

/// ABORTED: a call that needs the session for itself met another.
absl::Status InUse(const SessionName& name);
absl::Status AlreadyExists(const SessionName& name);

}  // namespace fmaserver::sessions
