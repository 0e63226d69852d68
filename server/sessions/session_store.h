// All sessions of one server: kept in memory within a budget and, given a shelf, there too.
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

/// Thread-safe. Calls may block on the shelf, but for Stats, CountOf and the end of a turn that is
/// not committed: these return at once, whatever the shelf does. Outlives its turns, exports and
/// imports.
///
/// With a shelf every change is on it when its call returns, and several servers of one model may
/// share it: a session that another one changed is read anew when it is used. When the shelf fails
/// the change is kept in memory, SessionInfo.durable is false, and the next change tries again.
/// Over the memory budget the least recently used sessions leave memory; without a shelf they lose
/// their rewind points instead, and when that is not enough new sessions are refused.
///
/// Errors, besides those named below: INVALID_ARGUMENT for a name or number out of range, NOT_FOUND
/// for a session that the tenant does not have or that expired, ABORTED for a change while a turn
/// is live or after another server's, DATA_LOSS naming what turned out damaged (it is set aside).
class SessionStore {
 public:
  /// Opens the shelf that the options ask for, and removes what a crash left unfinished there.
  /// Sessions of other models or formats are left alone. `observer` may be null.
  static absl::StatusOr<std::unique_ptr<SessionStore>> Open(SessionModel model,
                                                            SessionOptions options,
                                                            SessionObserver* observer,
                                                            Now now = Clock::now);
  /// The same with a shelf of the caller's, or null.
  static absl::StatusOr<std::unique_ptr<SessionStore>> Open(SessionModel model,
                                                            SessionOptions options,
                                                            std::unique_ptr<StateShelf> shelf,
                                                            SessionObserver* observer,
                                                            Now now = Clock::now);
  ~SessionStore();
  SessionStore(const SessionStore&) = delete;
  SessionStore& operator=(const SessionStore&) = delete;

  /// An empty session; an empty name.id is replaced by 22 random characters. ALREADY_EXISTS;
  /// RESOURCE_EXHAUSTED for more than max_sessions or a full memory, as for Fork and Import.
  absl::StatusOr<SessionInfo> Create(SessionName name, const SessionLifetime& lifetime);

  absl::StatusOr<SessionInfo> Get(const SessionName& name);

  /// Up to `count` sessions (1 or more) in order of their ids, from SessionPage.next of the page
  /// before or "" on.
  absl::StatusOr<SessionPage> List(const std::string& tenant, const std::string& from,
                                   int64_t count);

  absl::StatusOr<SessionInfo> Update(const SessionName& name, const SessionLifetime& lifetime);

  /// `children` (1..kMaxChildren) sessions with random ids that share the parent's states. They
  /// take its time to live, but are not pinned and hold no interrupted turn. During a turn they are
  /// what the parent was before.
  absl::StatusOr<std::vector<SessionInfo>> Fork(const SessionName& name, int64_t children);
  static constexpr int64_t kMaxChildren = 1000;

  /// Forgets all past the first `tokens` tokens (0 to SessionInfo.tokens). Lands there when the log
  /// holds the tokens after the last state before, else on that state: see SessionInfo.tokens.
  absl::StatusOr<SessionInfo> Rewind(const SessionName& name, int64_t tokens);

  absl::Status Delete(const SessionName& name);

  /// The session as a blob, to be read piece by piece; during a turn, as before it.
  absl::StatusOr<std::unique_ptr<SessionExport>> Export(const SessionName& name, bool head_only);

  /// Makes a session, named as for Create, of a blob that arrives piece by piece.
  absl::StatusOr<std::unique_ptr<SessionImport>> Import(SessionName name,
                                                        const SessionLifetime& lifetime);

  /// Starts a turn. A caller that brings no new tokens asks for `min_pending` = 1, so that there is
  /// one to read: FAILED_PRECONDITION when there is none. An interrupted turn that is stored stays
  /// until the new one commits, and is dropped then.
  absl::StatusOr<std::unique_ptr<Turn>> BeginTurn(const SessionName& name, int64_t min_pending = 0);

  /// Takes up the interrupted turn that `resume_token` names; its record stays until the turn
  /// commits. NOT_FOUND for a token that is wrong or used.
  absl::StatusOr<ResumedTurn> BeginResume(const std::string& tenant,
                                          const std::string& resume_token);

  /// Removes expired sessions, of one tenant or of all.
  void Sweep(const std::string& tenant = {});

  SessionStats Stats() const { return core_.table.Stats(); }

  /// How many sessions the tenant has, as far as this server knows: what another server made or
  /// removed is noticed when it is used or listed. Expired ones count until they are swept.
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
