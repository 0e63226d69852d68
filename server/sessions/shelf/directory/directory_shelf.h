// Sessions in a directory: what is on disk, and how it gets there.
//
//   <dir>/lock                                   held while names change, by one server at a time
//   <dir>/.writer-<random>/                      where one server writes; locked while it lives
//   <dir>/<tenant>/<session>.session             the record of a session
//   <dir>/<tenant>/<session>.<id>.state          each of its states: the bytes of a slot
//   <dir>/<tenant>/<session>.<id>.chunks         each volume of the chunks of its archive
//   <dir>/<tenant>/<any of these>.damaged        set aside
//
// No file changes once it has its name, except that a volume grows (volume.h). Every session has
// its own names for its items; the names of a shared item are links to one file, so the disk counts
// how many sessions still need it, and no server has to know the sessions of another. A record gets
// its name after the parts that it lists are there, and loses it before them.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/sessions/shelf/directory/files.h"
#include "server/sessions/shelf/directory/lock.h"
#include "server/sessions/state_shelf.h"

namespace fmaserver::sessions {

/// Needs a file system with a working flock, and uses hard links where there are any. A damaged
/// file is renamed to *.damaged, with a line in the log; when it is a record, the parts of its
/// session stay beside it.
class DirectoryShelf final : public StateShelf {
 public:
  /// A volume that has so many bytes takes no more chunks. Forks have a link for each volume, and
  /// space that a rewind or a crash has left in one is free again when the whole of it is.
  static constexpr int64_t kVolumeBytes = int64_t{256} << 20;

  /// Makes `dir` when it is missing. UNAVAILABLE when that fails.
  static absl::StatusOr<std::unique_ptr<StateShelf>> Open(std::filesystem::path dir,
                                                          const SessionModel& model,
                                                          int64_t volume_bytes = kVolumeBytes);
  ~DirectoryShelf() override;
  DirectoryShelf(const DirectoryShelf&) = delete;
  DirectoryShelf& operator=(const DirectoryShelf&) = delete;

  absl::StatusOr<std::vector<StoredSession>> Recover() override;
  absl::StatusOr<std::vector<std::string>> Ids(const std::string& tenant) const override;
  absl::StatusOr<std::optional<StoredSession>> Read(const SessionName& name,
                                                    const Version& known) const override;
  absl::StatusOr<std::shared_ptr<Tail>> ReadTail(const SessionName& name,
                                                 const Version& expected) const override;
  absl::StatusOr<std::unique_ptr<OpenItem>> Open(const SessionName& name,
                                                 const ShelfItem& item) const override;
  absl::StatusOr<Saved> Save(const SavePlan& plan) override;
  absl::Status Remove(const SessionName& name, const Version& expected,
                      const std::vector<ShelfItem>& items) override;

 private:
  class Saving;
  class Recovery;

  DirectoryShelf(std::filesystem::path dir, SessionModel model, int64_t volume_bytes,
                 OpenFile lock_file)
      : dir_(std::move(dir)),
        model_(std::move(model)),
        volume_bytes_(volume_bytes),
        lock_file_(std::move(lock_file)) {}

  absl::StatusOr<DirectoryLock> Lock() { return DirectoryLock::Take(mutex_, lock_file_); }
  absl::Status MakeScratch();

  std::filesystem::path Folder(const std::string& tenant) const { return dir_ / tenant; }
  std::filesystem::path RecordPath(const SessionName& name) const;
  std::filesystem::path ItemPath(const SessionName& name, const ShelfItem& item) const;

  /// Reads a session's record whatever its version.
  absl::StatusOr<StoredSession> ReadAny(const SessionName& name) const;
  absl::Status CheckVersion(const SessionName& name, const Version& expected) const;

  const std::filesystem::path dir_;
  const SessionModel model_;
  const int64_t volume_bytes_;
  std::mutex mutex_;  // between threads, as lock_file_ between processes
  const OpenFile lock_file_;
  std::filesystem::path scratch_;  // our own folder
  std::optional<OpenFile> scratch_lock_;
};

}  // namespace fmaserver::sessions
