// SessionDirectory::Save: write aside, sync, take the lock, give the names.
#include <unistd.h>

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "base/id.h"
#include "server/sessions/directory_lock.h"
#include "server/sessions/session_codec.h"
#include "server/sessions/session_directory.h"

namespace fmaserver::sessions {

namespace fs = std::filesystem;

/// One run of Save. Its destructor removes what is left aside and, unless it was completed, what
/// has got a name.
class SessionDirectory::Saving {
 public:
  Saving(const SessionDirectory& directory, const SavePlan& plan)
      : directory_(directory), plan_(plan) {}
  Saving(const Saving&) = delete;
  Saving& operator=(const Saving&) = delete;
  ~Saving() {
    for (const fs::path& file : aside_) unlink(file.c_str());
    for (const fs::path& file : named_) unlink(file.c_str());
  }

  /// Without the lock, because it takes long: writes what no file holds yet.
  absl::Status WriteAside();

  /// With the lock: gives the files their names.
  absl::StatusOr<SavedStamp> Publish();

 private:
  fs::path NewAside() {
    aside_.push_back(directory_.scratch_ / RandomId());
    return aside_.back();
  }

  absl::Status PublishStates(const SessionName& target);
  absl::Status PublishRecord(const SessionName& target);

  const SessionDirectory& directory_;
  const SavePlan& plan_;
  std::vector<fs::path> aside_;
  std::vector<fs::path> named_;
  std::vector<fs::path>
      states_;  // of plan_.points: where each is, aside or under the source's name
  fs::path record_;
};

absl::Status SessionDirectory::Saving::WriteAside() {
  for (size_t i = 0; i < plan_.contents.points.size(); ++i) {
    const Point& point = *plan_.contents.points[i];
    const fs::path saved = directory_.StatePath(plan_.source, point.id);
    const absl::StatusOr<std::optional<FileStamp>> stamp = StampOf(saved);
    if (!stamp.ok()) return stamp.status();
    if (stamp->has_value() || plan_.snapshots[i] == nullptr) {
      states_.push_back(saved);
      continue;
    }
    states_.push_back(NewAside());
    const SealedRecord record =
        SealRecord(StateHeader(point, directory_.model_), plan_.snapshots[i]->bytes());
    if (absl::Status status = WriteRecord(states_.back(), record); !status.ok()) return status;
  }
  const std::string payload = SessionPayload(*plan_.contents.tail);
  record_ = NewAside();
  return WriteRecord(record_, SealRecord(SessionHeader(plan_.contents, directory_.model_),
                                         std::as_bytes(std::span(payload))));
}

absl::Status SessionDirectory::Saving::PublishStates(const SessionName& target) {
  for (size_t i = 0; i < states_.size(); ++i) {
    const fs::path name = directory_.StatePath(target, plan_.contents.points[i]->id);
    if (name == states_[i]) continue;
    const bool is_aside = states_[i].parent_path() == directory_.scratch_;
    // A state that is for its source alone needs no link.
    absl::Status status = is_aside && target == plan_.source
                              ? Rename(states_[i], name)
                              : LinkOrCopy(states_[i], name, NewAside());
    if (!status.ok()) return status;
    named_.push_back(name);
  }
  return absl::OkStatus();
}

absl::Status SessionDirectory::Saving::PublishRecord(const SessionName& target) {
  const fs::path name = directory_.RecordPath(target);
  if (target == plan_.source) return Rename(record_, name);
  if (absl::Status status = LinkOrCopy(record_, name, NewAside()); !status.ok()) return status;
  named_.push_back(name);
  return absl::OkStatus();
}

absl::StatusOr<SavedStamp> SessionDirectory::Saving::Publish() {
  const fs::path folder = directory_.Folder(plan_.source.tenant);
  for (const SessionName& target : plan_.targets) {
    if (absl::Status status = PublishStates(target); !status.ok()) return status;
  }
  // A record must not survive a crash that its states do not survive.
  if (absl::Status status = SyncFolder(folder); !status.ok()) return status;
  const absl::StatusOr<std::optional<FileStamp>> stamp = StampOf(record_);
  if (!stamp.ok()) return stamp.status();
  for (const SessionName& target : plan_.targets) {
    if (absl::Status status = PublishRecord(target); !status.ok()) return status;
  }
  named_.clear();
  return SavedStamp{.stamp = **stamp, .synced = SyncFolder(folder)};
}

absl::StatusOr<SavedStamp> SessionDirectory::Save(const SavePlan& plan) {
  if (absl::Status status = MakeFolder(Folder(plan.source.tenant)); !status.ok()) return status;
  Saving saving(*this, plan);
  if (absl::Status status = saving.WriteAside(); !status.ok()) return status;
  const Lock lock(*this);
  if (absl::Status status = CheckStamp(plan.source, plan.expected); !status.ok()) return status;
  absl::StatusOr<SavedStamp> stamp = saving.Publish();
  if (!stamp.ok()) return stamp;
  for (const PointPtr& point : plan.dropped) {
    // What stays by mistake is removed by the next start.
    (void)Unlink(StatePath(plan.source, point->id));
  }
  return stamp;
}

}  // namespace fmaserver::sessions
