// All sessions of one model: kept in memory within a budget and, if there is a shelf, on it too.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/sessions/session_export.h"
#include "server/sessions/session_import.h"
#include "server/sessions/session_types.h"
#include "server/sessions/store_core.h"
#include "server/sessions/turn.h"

namespace fmaserver::sessions {

/// Thread-safe. Calls may wait for the shelf, except for Stats, CountOf and the end of a turn that
/// is not committed, which return at once whatever the shelf does. The store outlives its turns,
/// exports and imports.
///
/// With a shelf, every change is saved on it before its call returns, and several servers of one
/// model may share it: a session that another server has changed is read anew when it is used. When
/// the shelf fails, the change is kept in memory, SessionInfo.durable is false, and the next change
/// tries again. Over the memory budget, the least recently used sessions leave memory; without a
/// shelf they lose their rewind points instead, and when that is not enough, new sessions are
/// refused.
///
/// Errors, besides those named below: INVALID_ARGUMENT for a name or number out of range, NOT_FOUND
/// for a session that the tenant does not have or that has expired, ABORTED for a change while a
/// turn is live or after another server's change, DATA_LOSS naming what is damaged (it is set
/// aside).
class SessionStore {
 public:
  /// Opens the shelf that the options ask for, and removes what a crash left unfinished there.
  /// Sessions of other models or formats are left alone. `observer` may be null.
  static absl::StatusOr<std::unique_ptr<SessionStore>> Open(SessionModel model,
                                                            SessionOptions options,
                                                            SessionObserver* observer,
                                                            Now now = Clock::now);
  /// The same with the caller's shelf, which may be null.
  static absl::StatusOr<std::unique_ptr<SessionStore>> Open(SessionModel model,
                                                            SessionOptions options,
                                                            std::unique_ptr<StateShelf> shelf,
                                                            SessionObserver* observer,
                                                            Now now = Clock::now);
  ~SessionStore();
  SessionStore(const SessionStore&) = delete;
  SessionStore& operator=(const SessionStore&) = delete;

  /// Makes an empty session; an empty name.id is replaced by 22 random characters. ALREADY_EXISTS;
  /// like Fork and Import, RESOURCE_EXHAUSTED when there would be more than max_sessions or memory
  /// is full.
  absl::StatusOr<SessionInfo> Create(SessionName name, const SessionLifetime& lifetime);

  absl::StatusOr<SessionInfo> Get(const SessionName& name);

  /// Up to `count` sessions (1 or more) in order of their ids, starting at SessionPage.next of the
  /// page before, or at "" for the first page.
  absl::StatusOr<SessionPage> List(const std::string& tenant, const std::string& from,
                                   int64_t count);

  absl::StatusOr<SessionInfo> Update(const SessionName& name, const SessionLifetime& lifetime);

  /// Makes `children` (1..kMaxChildren) sessions with random ids that share the parent's states.
  /// They have its time to live, but are not pinned and hold no interrupted turn and no note.
  /// During a turn they get what the parent was before it.
  absl::StatusOr<std::vector<SessionInfo>> Fork(const SessionName& name, int64_t children);
  static constexpr int64_t kMaxChildren = 1000;

  /// Forgets everything past the first `tokens` tokens (0 to SessionInfo.tokens). When the log does
  /// not hold all tokens between the last state before that place and the place itself, it goes
  /// back to that state: SessionInfo.tokens says where it landed.
  absl::StatusOr<SessionInfo> Rewind(const SessionName& name, int64_t tokens);

  absl::Status Delete(const SessionName& name);

  /// The session as a blob, to be read piece by piece; during a turn it is the session as it was
  /// before.
  absl::StatusOr<std::unique_ptr<SessionExport>> Export(const SessionName& name, bool head_only);

  /// Makes a session, named as in Create, from a blob that arrives piece by piece.
  absl::StatusOr<std::unique_ptr<SessionImport>> Import(SessionName name,
                                                        const SessionLifetime& lifetime);

  /// Starts a turn. A caller that brings no new tokens asks for `min_pending` = 1, so that there is
  /// a token to read: FAILED_PRECONDITION when there is none. A stored interrupted turn is dropped
  /// when the new turn commits. Unless `with_archive`, the turn goes on without the session's
  /// archive, which then need not fit into memory: RESOURCE_EXHAUSTED when it must and does not.
  absl::StatusOr<std::unique_ptr<Turn>> BeginTurn(const SessionName& name, int64_t min_pending = 0,
                                                  bool with_archive = true);

  /// Starts a turn that goes on from the session `parent` of child.tenant, or from nothing when it
  /// is empty, and ends as a new session, `child`: until it commits there is none, and it leaves
  /// the parent as it is, in which any number of turns may branch. The child has the time to live
  /// of its parent, and its newest state alone. An empty child.id: the turn cannot be committed.
  /// Errors of Create and BeginTurn.
  absl::StatusOr<std::unique_ptr<Turn>> BeginBranch(const SessionName& child,
                                                    const std::string& parent,
                                                    bool with_archive = true);

  /// What the last turn left with the session (Turn::Commit); empty: nothing. It is a use of it.
  absl::StatusOr<std::string> Note(const SessionName& name);

  /// Takes up the interrupted turn that `resume_token` names; its record stays until the turn
  /// commits. NOT_FOUND for a token that is wrong or was used before.
  absl::StatusOr<ResumedTurn> BeginResume(const std::string& tenant,
                                          const std::string& resume_token);

  /// Lets sessions that are safe on the shelf and not in use leave memory, the least recently used
  /// first and of one tenant only unless `tenant` is empty, as long as they have archives there and
  /// until `enough` says true. `enough` must not call the store.
  void DropArchives(const std::string& tenant, absl::FunctionRef<bool()> enough) {
    core_.table.DropArchives(tenant, enough);
  }

  /// Removes expired sessions, of one tenant or of all.
  void Sweep(const std::string& tenant = {});

  SessionStats Stats() const { return core_.table.Stats(); }

  /// How many sessions the tenant has, as far as this server knows: it notices a session that
  /// another server made or removed when that session is used or listed. Expired sessions count
  /// until they are swept.
  int64_t CountOf(const std::string& tenant) const { return core_.table.CountOf(tenant); }

  const SessionModel& model() const { return core_.model; }
  const SessionOptions& options() const { return core_.options; }

 private:
  SessionStore(SessionModel model, SessionOptions options, std::unique_ptr<StateShelf> shelf,
               SessionObserver& observer, Now now)
      : core_(std::move(model), std::move(options), std::move(shelf), observer, std::move(now)) {}

  absl::Status Recover();
  void StartSweeper();
  absl::StatusOr<SessionInfo> Change(const SessionName& name,
                                     const std::function<absl::Status(SessionContents&)>& change);
  absl::StatusOr<std::vector<SessionInfo>> TryFork(const SessionName& name, int64_t children);
  absl::StatusOr<std::vector<std::string>> IdsFrom(const std::string& tenant,
                                                   const std::string& from) const;

  StoreCore core_;
  std::condition_variable_any stop_sweeping_;
  std::jthread sweeper_;
};

}  // namespace fmaserver::sessions
