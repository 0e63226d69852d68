// DirectoryShelf::Save: write aside, sync, take the lock, give the names.
#include <unistd.h>

#include <memory>
#include <span>
#include <utility>

#include "base/id.h"
#include "server/sessions/session_codec.h"
#include "server/sessions/shelf/directory/directory_shelf.h"
#include "server/sessions/shelf/directory/volume.h"

namespace fmaserver::sessions {

namespace fs = std::filesystem;

/// One run of Save. Its destructor removes files that are still aside and, unless the run was
/// completed, those that already have their names and what was added to a volume.
class DirectoryShelf::Saving {
 public:
  Saving(const DirectoryShelf& shelf, const SavePlan& plan)
      : shelf_(shelf), plan_(plan), contents_(plan.contents) {}
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

  absl::Status WriteSlot(const PartToSave& slot);
  absl::Status WriteChunks();
  absl::Status TakeUpVolume(const Part& last);
  absl::Status BeginVolume();
  absl::Status SyncVolumes() const;
  absl::Status PublishItems(const SessionName& target);
  absl::Status PublishRecord(const SessionName& target);

  /// An item of the contents, and the file that has it: aside, or under the source's name.
  struct Held {
    ShelfItem item;
    fs::path file;
  };

  const DirectoryShelf& shelf_;
  const SavePlan& plan_;
  SessionContents contents_;  // the plan's, with its chunks where they lie from now on
  std::vector<fs::path> aside_;
  std::vector<fs::path> named_;
  std::vector<Held> held_;
  std::unique_ptr<VolumeWriter> own_;     // a volume of the source that goes on
  std::unique_ptr<VolumeWriter> volume_;  // a new one
  fs::path record_;
};

absl::Status DirectoryShelf::Saving::WriteSlot(const PartToSave& slot) {
  const ShelfItem item{Part::Kind::kSlot, slot.part->id};
  held_.push_back({item, shelf_.ItemPath(plan_.source, item)});
  if (!slot.bytes) return absl::OkStatus();
  const absl::StatusOr<Version> found = VersionOf(held_.back().file);
  if (!found.ok()) return found.status();
  if (*found != Version()) return absl::OkStatus();
  const absl::StatusOr<engine::SnapshotPtr> bytes = slot.bytes.Read();
  if (!bytes.ok()) return bytes.status();
  held_.back().file = NewAside();
  return WriteRecord(held_.back().file,
                     SealRecord(PartHeader(*slot.part, shelf_.model_), (*bytes)->bytes()));
}

absl::Status DirectoryShelf::Saving::BeginVolume() {
  if (volume_ != nullptr) {
    if (absl::Status status = volume_->Sync(); !status.ok()) return status;
    volume_->Keep();  // aside, where it is removed unless it gets a name
  }
  const ShelfItem item{Part::Kind::kChunk, RandomId()};
  held_.push_back({item, NewAside()});
  auto volume = VolumeWriter::Begin(held_.back().file, item.id, shelf_.model_);
  if (!volume.ok()) return volume.status();
  volume_ = *std::move(volume);
  return absl::OkStatus();
}

absl::Status DirectoryShelf::Saving::TakeUpVolume(const Part& last) {
  if (contents_.volume.empty()) return absl::OkStatus();
  const fs::path file = shelf_.ItemPath(plan_.source, {Part::Kind::kChunk, last.id});
  auto own = VolumeWriter::GoOn(file, last, shelf_.model_);
  if (!own.ok()) return own.status();
  if (*own != nullptr && (*own)->key() == contents_.volume) own_ = *std::move(own);
  return absl::OkStatus();
}

absl::Status DirectoryShelf::Saving::WriteChunks() {
  const auto stored = std::ssize(*contents_.chunks) - std::ssize(plan_.chunks);
  const std::span<const PartPtr> before = contents_.chunks.First(stored);
  std::vector<PartPtr> chunks(before.begin(), before.end());
  for (const ShelfItem& item : ItemsOf({.chunks = ChunkList(chunks)})) {
    held_.push_back({item, shelf_.ItemPath(plan_.source, item)});
  }
  if (plan_.chunks.empty()) return absl::OkStatus();
  if (stored > 0) {
    if (absl::Status status = TakeUpVolume(*chunks.back()); !status.ok()) return status;
  }
  VolumeWriter* writer = own_.get();
  for (const PartToSave& chunk : plan_.chunks) {
    if (writer == nullptr || writer->bytes() >= shelf_.volume_bytes_) {
      if (absl::Status status = BeginVolume(); !status.ok()) return status;
      writer = volume_.get();
    }
    absl::StatusOr<PartPtr> part = writer->Add(chunk);
    if (!part.ok()) return part.status();
    chunks.push_back(*std::move(part));
  }
  contents_.chunks = ChunkList(std::move(chunks));
  contents_.volume = writer->key();
  return SyncVolumes();
}

absl::Status DirectoryShelf::Saving::SyncVolumes() const {
  for (const VolumeWriter* written : {own_.get(), volume_.get()}) {
    if (written == nullptr) continue;
    if (absl::Status status = written->Sync(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status DirectoryShelf::Saving::WriteAside() {
  for (const PartToSave& slot : plan_.slots) {
    if (absl::Status status = WriteSlot(slot); !status.ok()) return status;
  }
  if (absl::Status status = WriteChunks(); !status.ok()) return status;
  const std::string payload = SessionPayload(*contents_.tail);
  record_ = NewAside();
  return WriteRecord(record_, SealRecord(SessionHeader(contents_, shelf_.model_),
                                         std::as_bytes(std::span(payload))));
}

absl::Status DirectoryShelf::Saving::PublishItems(const SessionName& target) {
  for (const Held& held : held_) {
    const fs::path name = shelf_.ItemPath(target, held.item);
    if (name == held.file) continue;
    const bool is_aside = held.file.parent_path() == shelf_.scratch_;
    // A new item of the source gets its final name; only other targets need links.
    absl::Status status = is_aside && target == plan_.source
                              ? Rename(held.file, name)
                              : LinkOrCopy(held.file, name, [this] { return NewAside(); });
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
    if (absl::Status status = PublishItems(target); !status.ok()) return status;
  }
  // If a record survives a crash, its parts must survive it too.
  if (absl::Status status = SyncFolder(folder); !status.ok()) return status;
  const absl::StatusOr<Version> version = VersionOf(record_);
  if (!version.ok()) return version.status();
  for (VolumeWriter* written : {own_.get(), volume_.get()}) {
    if (written != nullptr) written->Keep();
  }
  for (const SessionName& target : plan_.targets) {
    if (absl::Status status = PublishRecord(target); !status.ok()) return status;
  }
  named_.clear();
  Saved saved{.version = *version,
              .synced = SyncFolder(folder),
              .chunks = contents_.chunks,
              .volume = contents_.volume};
  // After a crash the old record may be back, and it must find its parts.
  if (!saved.synced.ok()) return saved;
  for (const ShelfItem& item : plan_.dropped) {
    // The next start removes what is left over.
    (void)Unlink(shelf_.ItemPath(plan_.source, item));
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
