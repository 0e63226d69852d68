// The session directory: what is on disk, and how it gets there.
//
//   <dir>/lock                                   held while names change, by one server at a time
//   <dir>/.writer-<random>/                      where one server writes; locked while it lives
//   <dir>/<tenant>/<session>.session             the record of a session
//   <dir>/<tenant>/<session>.<state>.state       the record of each of its states
//   <dir>/<tenant>/<any of these>.damaged        set aside
//
// No file changes once it has its name. Every session has names of its own for its states; those
// that sessions share are links to one file, so the disk counts how many still need it and no
// server has to know the sessions of another. A record gets its name after the states that it
// lists, and loses it before them.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/sessions/directory_files.h"
#include "server/sessions/session_contents.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// A session's record as it is on disk.
struct StoredSession {
  SessionName name;
  SessionContents contents;  ///< without tail and snapshots
  FileStamp stamp;
};

/// What came of saving: the records have their names, and `synced` says whether the disk vouches
/// for it.
struct SavedStamp {
  FileStamp stamp;  ///< of the targets' records
  absl::Status synced;
};

/// What to save, and for whom.
struct SavePlan {
  SessionContents contents;  ///< with its tail
  std::vector<engine::SnapshotPtr> snapshots =
      {};                                  ///< of contents.points; null where only a file has it
  SessionName source = {};                 ///< whose names the saved states have
  std::optional<FileStamp> expected = {};  ///< of the source's record; absent: it has none
  std::vector<SessionName> targets = {};   ///< the source itself, or new ones of its tenant
  std::vector<PointPtr> dropped = {};      ///< states that have the source's name and shall lose it
};

/// Thread-safe. NOT_FOUND for what is not there, UNAVAILABLE when the disk fails, DATA_LOSS naming
/// a damaged file, which is set aside; FAILED_PRECONDITION for a record of another model or
/// version, which is left alone.
class SessionDirectory {
 public:
  /// Makes `dir` when missing, removes what crashed servers left, and lists the sessions.
  static absl::StatusOr<std::unique_ptr<SessionDirectory>> Open(
      std::filesystem::path dir, const SessionModel& model, std::vector<StoredSession>& sessions);
  ~SessionDirectory();
  SessionDirectory(const SessionDirectory&) = delete;
  SessionDirectory& operator=(const SessionDirectory&) = delete;

  /// Of a session's record; absent when there is none.
  absl::StatusOr<std::optional<FileStamp>> Stamp(const SessionName& name) const;

  /// Ids of the tenant's sessions that have a record, in any order.
  absl::StatusOr<std::vector<std::string>> Ids(const std::string& tenant) const;

  absl::StatusOr<StoredSession> Read(const SessionName& name) const;
  /// ABORTED when the record is not the `expected` one.
  absl::StatusOr<std::shared_ptr<Tail>> ReadTail(const SessionName& name,
                                                 const std::optional<FileStamp>& expected) const;

  /// The open file stays readable whatever happens to the session. DATA_LOSS when it is missing.
  absl::StatusOr<OpenFile> OpenState(const SessionName& name, const Point& point) const;
  absl::StatusOr<engine::SnapshotPtr> ReadState(const OpenFile& file, const Point& point) const;

  /// On disk when it returns. ABORTED when the source's record is not the expected one: another
  /// server was faster. An error changes nothing.
  absl::StatusOr<SavedStamp> Save(const SavePlan& plan);

  /// Removes a session and the files of `points`. ABORTED as for Save.
  absl::Status Remove(const SessionName& name, const std::optional<FileStamp>& expected,
                      const std::vector<PointPtr>& points);

 private:
  class Lock;
  class Saving;
  class Scan;

  SessionDirectory(std::filesystem::path dir, SessionModel model, OpenFile lock_file)
      : dir_(std::move(dir)), model_(std::move(model)), lock_file_(std::move(lock_file)) {}

  absl::Status MakeScratch();

  std::filesystem::path Folder(const std::string& tenant) const { return dir_ / tenant; }
  std::filesystem::path RecordPath(const SessionName& name) const;
  std::filesystem::path StatePath(const SessionName& name, const std::string& state) const;

  absl::Status CheckStamp(const SessionName& name, const std::optional<FileStamp>& expected) const;

  const std::filesystem::path dir_;
  const SessionModel model_;
  std::mutex mutex_;  // between threads, as lock_file_ between processes
  const OpenFile lock_file_;
  std::filesystem::path scratch_;  // our own folder
  std::optional<OpenFile> scratch_lock_;
};

}  // namespace fmaserver::sessions
