// How the store changes sessions that it has claimed, in the table and on the shelf.
#pragma once

#include <atomic>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/sessions/claim.h"
#include "server/sessions/part_loader.h"
#include "server/sessions/session_table.h"
#include "server/sessions/state_shelf.h"

namespace fmaserver::sessions {

/// Thread-safe; calls wait for the shelf. When the shelf fails, a change is kept in the table only
/// and is not durable; the next change tries again. ABORTED when another server changed the
/// session.
class SessionWriter {
 public:
  /// `shelf` may be null; all outlive the writer.
  SessionWriter(SessionTable& table, StateShelf* shelf, PartLoader& loader,
                SessionObserver& observer)
      : table_(table), shelf_(shelf), loader_(loader), observer_(observer) {}

  /// Replaces the session's contents; their tail must not be null.
  absl::Status Replace(const ChangeClaim& claim, SessionContents next);

  /// Makes new sessions of these contents, whose tail must not be null. They share the states of
  /// `parent`, which is the new session itself when there is only one and it has no parent.
  absl::Status Add(const std::vector<ChangeClaim>& names, SessionContents contents,
                   const Claim& parent);

  absl::Status Remove(const ChangeClaim& claim);

  /// Whether the last change could not be made durable.
  bool fails() const { return fails_; }

 private:
  SavePlan PlanFor(const Claim& source, SessionContents contents,
                   const std::vector<ShelfItem>& there) const;
  absl::StatusOr<Holding> Save(const Claim& source, SavePlan plan);
  /// Saves the plan, which is made anew when the shelf has lost something of it.
  absl::StatusOr<Saved> SaveAll(const Claim& source, SavePlan& plan);
  void Report(const absl::Status& status, double seconds);

  SessionTable& table_;
  StateShelf* const shelf_;
  PartLoader& loader_;
  SessionObserver& observer_;
  std::atomic<bool> fails_ = false;
};

}  // namespace fmaserver::sessions
