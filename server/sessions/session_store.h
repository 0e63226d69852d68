// All sessions of one server: kept in memory within a budget and, given a directory, on disk.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/sessions/session_directory.h"
#include "server/sessions/session_table.h"
#include "server/sessions/session_types.h"
#include "server/sessions/turn.h"

namespace fmaserver::sessions {

class SessionExport;
class SessionImport;

/// Thread-safe; calls may block on the disk. Outlives its turns, exports and imports.
///
/// With a directory every change is on disk when its call returns (temporary file, fsync, rename),
/// and several servers of one model may share it: a session that another one changed is read anew
/// when it is used. When the disk fails the change is kept in memory, SessionInfo.durable is false,
/// and the next change tries again. Over the memory budget the least recently used sessions leave
/// memory; without a directory they lose their rewind points instead, and when that is not enough
/// new sessions are refused.
///
/// Errors, besides those named below: INVALID_ARGUMENT for a name or number out of range, NOT_FOUND
/// for a session that the tenant does not have or that expired, ABORTED for a change while a turn
/// is live, DATA_LOSS naming the file that turned out damaged (it is renamed to *.damaged).
class SessionStore {
 public:
  /// Scans options.dir, which is made when missing, and removes what a crash left unfinished.
  /// Sessions of other models or versions are left alone. `observer` may be null.
  static absl::StatusOr<std::unique_ptr<SessionStore>> Open(SessionModel model,
                                                            SessionOptions options,
                                                            SessionObserver* observer);
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

  /// Removes expired sessions.
  void Sweep();

  SessionStats Stats() const;

  const SessionModel& model() const { return model_; }
  const SessionOptions& options() const { return options_; }

 private:
  friend class Turn;
  friend class SessionImport;
  using Lock = std::unique_lock<std::mutex>;

  SessionStore(SessionModel model, SessionOptions options, SessionObserver* observer);

  // Those that take a Lock need mutex_; the others must be called without it.

  /// The session as it is now, also when another server changed it. Waits while it changes.
  absl::StatusOr<SessionPtr> Find(Lock& lock, const SessionName& name);
  absl::Status Refresh(const SessionName& name, const SessionPtr& known);
  absl::Status Remove(Lock& lock, const SessionPtr& session);
  bool IsExpired(const Session& session) const;

  /// Finds a session for the caller alone, until Unclaim.
  absl::StatusOr<SessionPtr> Claim(Lock& lock, const SessionName& name, Session::Use use);
  void Unclaim(const SessionPtr& session);

  /// Of a claimed session: into memory what is only on disk.
  absl::Status LoadTail(const SessionPtr& session);
  absl::StatusOr<engine::SnapshotPtr> LoadState(const SessionPtr& session, const PointPtr& point);

  /// Gives a claimed session other contents, saved if that is possible. ABORTED.
  absl::Status Replace(const SessionPtr& session, SessionContents next);
  absl::StatusOr<SessionInfo> Change(const SessionName& name,
                                     const std::function<absl::Status(SessionContents&)>& change);

  /// Saves a plan; the version is not durable when the disk fails. ABORTED.
  absl::StatusOr<SessionVersion> Save(SavePlan plan);
  /// Without snapshots where they are on disk only.
  SavePlan PlanFor(Lock& lock, SessionContents contents) const;

  absl::Status CheckRoom(Lock& lock, int64_t sessions);
  /// New sessions of these contents, whose tail is there. `parent` is whose states they share, or
  /// the only one of `names` itself.
  absl::StatusOr<std::vector<SessionInfo>> Add(Lock& lock, std::vector<SessionName> names,
                                               SessionContents contents, const SessionName& parent,
                                               const std::optional<FileStamp>& parent_stamp);
  /// Reads those of `points` that are only in files of `owner`.
  absl::StatusOr<std::vector<engine::SnapshotPtr>> ReadStates(const SessionName& owner,
                                                              const std::vector<PointPtr>& points);
  absl::Status CheckNew(Lock& lock, const SessionName& name);
  SessionContents EmptyContents(const SessionLifetime& lifetime) const;
  absl::StatusOr<std::vector<SessionInfo>> TryFork(const SessionName& name, int64_t children);
  absl::StatusOr<std::vector<std::string>> IdsFrom(const std::string& tenant,
                                                   const std::string& from);

  absl::StatusOr<std::unique_ptr<Turn>> MakeTurn(const SessionPtr& session, int64_t min_pending,
                                                 bool resume);

  SessionInfo InfoOf(const Session& session) const;
  SessionInfo Info(const SessionPtr& session);

  const SessionModel model_;
  const SessionOptions options_;
  SessionObserver* const observer_;
  std::unique_ptr<SessionDirectory> directory_;  // null: none
  std::atomic<bool> saving_fails_ = false;

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // a use of kChanging is over
  SessionTable table_;

  std::condition_variable_any stop_sweeping_;
  std::jthread sweeper_;
};

/// INVALID_ARGUMENT for numbers out of range.
absl::Status CheckLifetime(const SessionLifetime& lifetime);

}  // namespace fmaserver::sessions
