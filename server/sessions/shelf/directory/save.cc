// DirectoryShelf::Save: write aside, sync, take the lock, give the names.
#include <unistd.h>

#include <span>
#include <utility>

#include "base/id.h"
#include "server/sessions/session_codec.h"
#include "server/sessions/shelf/directory/directory_shelf.h"

namespace fmaserver::sessions {

namespace fs = std::filesystem;

/// One run of Save. Its destructor removes files that are still aside and, unless the run was
/// completed, those that already have their names.
class DirectoryShelf::Saving {
 public:
  Saving(const DirectoryShelf& shelf, const SavePlan& plan) : shelf_(shelf), plan_(plan) {}
  Saving(const Saving&) = delete;
  Saving& operator=(const Saving&) = delete;
  ~Saving() {
    for (const fs::path& file : aside_) unlink(file.c_str());
    for (const fs::path& file : named_) unlink(file.c_str());
  }

  /// Writes what no file holds yet. It takes long, so it runs without the lock.
  absl::Status WriteAside();

  /// Gives the files their names. Needs the lock.
  absl::StatusOr<Saved> Publish();

 private:
  fs::path NewAside() {
    aside_.push_back(shelf_.scratch_ / RandomId());
    return aside_.back();
  }

  absl::StatusOr<fs::path> WritePart(const PartToSave& part);
  absl::Status PublishParts(const SessionName& target);
  absl::Status PublishRecord(const SessionName& target);

  const DirectoryShelf& shelf_;
  const SavePlan& plan_;
  std::vector<fs::path> aside_;
  std::vector<fs::path> named_;
  std::vector<fs::path> parts_;  // where each of plan_.parts is: aside or under the source's name
  fs::path record_;
};

absl::StatusOr<fs::path> DirectoryShelf::Saving::WritePart(const PartToSave& part) {
  const fs::path saved = shelf_.PartPath(plan_.source, *part.part);
  if (!part.bytes) return saved;
  const absl::StatusOr<Version> found = VersionOf(saved);
  if (!found.ok()) return found.status();
  if (*found != Version()) return saved;
  const absl::StatusOr<engine::SnapshotPtr> bytes = part.bytes.Read();
  if (!bytes.ok()) return bytes.status();
  fs::path aside = NewAside();
  const SealedRecord record = SealRecord(PartHeader(*part.part, shelf_.model_), (*bytes)->bytes());
  if (absl::Status status = WriteRecord(aside, record); !status.ok()) return status;
  return aside;
}

absl::Status DirectoryShelf::Saving::WriteAside() {
  for (const PartToSave& part : plan_.parts) {
    absl::StatusOr<fs::path> file = WritePart(part);
    if (!file.ok()) return file.status();
    parts_.push_back(*std::move(file));
  }
  const std::string payload = SessionPayload(*plan_.contents.tail);
  record_ = NewAside();
  return WriteRecord(record_, SealRecord(SessionHeader(plan_.contents, shelf_.model_),
                                         std::as_bytes(std::span(payload))));
}

absl::Status DirectoryShelf::Saving::PublishParts(const SessionName& target) {
  for (size_t i = 0; i < parts_.size(); ++i) {
    const fs::path name = shelf_.PartPath(target, *plan_.parts[i].part);
    if (name == parts_[i]) continue;
    const bool is_aside = parts_[i].parent_path() == shelf_.scratch_;
    // A new part of the source gets its final name; only other targets need links.
    absl::Status status = is_aside && target == plan_.source
                              ? Rename(parts_[i], name)
                              : LinkOrCopy(parts_[i], name, [this] { return NewAside(); });
    if (!status.ok()) return status;
    named_.push_back(name);
  }
  return absl::OkStatus();
}

absl::Status DirectoryShelf::Saving::PublishRecord(const SessionName& target) {
  const fs::path name = shelf_.RecordPath(target);
  if (target == plan_.source) return Rename(record_, name);
  if (absl::Status status = LinkOrCopy(record_, name, [this] { return NewAside(); }); !status.ok())
    return status;
  named_.push_back(name);
  return absl::OkStatus();
}

absl::StatusOr<Saved> DirectoryShelf::Saving::Publish() {
  const fs::path folder = shelf_.Folder(plan_.source.tenant);
  for (const SessionName& target : plan_.targets) {
    if (absl::Status status = PublishParts(target); !status.ok()) return status;
  }
  // If a record survives a crash, its parts must survive it too.
  if (absl::Status status = SyncFolder(folder); !status.ok()) return status;
  const absl::StatusOr<Version> version = VersionOf(record_);
  if (!version.ok()) return version.status();
  for (const SessionName& target : plan_.targets) {
    if (absl::Status status = PublishRecord(target); !status.ok()) return status;
  }
  named_.clear();
  Saved saved{.version = *version, .synced = SyncFolder(folder)};
  // After a crash the old record may be back, and it must find its parts.
  if (!saved.synced.ok()) return saved;
  for (const PartPtr& part : plan_.dropped) {
    // The next start removes what is left over.
    (void)Unlink(shelf_.PartPath(plan_.source, *part));
  }
  return saved;
}

absl::StatusOr<Saved> DirectoryShelf::Save(const SavePlan& plan) {
  if (absl::Status status = MakeFolder(Folder(plan.source.tenant)); !status.ok()) return status;
  Saving saving(*this, plan);
  if (absl::Status status = saving.WriteAside(); !status.ok()) return status;
  const absl::StatusOr<DirectoryLock> lock = Lock();
  if (!lock.ok()) return lock.status();
  if (absl::Status status = CheckVersion(plan.source, plan.expected); !status.ok()) return status;
  return saving.Publish();
}

}  // namespace fmaserver::sessions
