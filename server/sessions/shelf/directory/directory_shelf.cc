#include "server/sessions/shelf/directory/directory_shelf.h"

#include <spdlog/spdlog.h>
#include <sys/file.h>

#include <span>
#include <system_error>
#include <utility>

#include "absl/memory/memory.h"
#include "base/id.h"
#include "base/text.h"
#include "server/sessions/session_codec.h"
#include "server/sessions/session_name.h"
#include "server/sessions/shelf/directory/names.h"
#include "server/sessions/shelf/directory/volume.h"
#include "server/sessions/shelf/read_part.h"

namespace fmaserver::sessions {
namespace {

namespace fs = std::filesystem;

// Sets a file aside when its reader refused it as damaged; passes on other errors.
absl::Status Refused(const fs::path& file, const absl::Status& status) {
  if (status.code() != absl::StatusCode::kInvalidArgument) return status;
  SetAside(file, status);
  return absl::DataLossError(Concat(file.string(), ": ", status.message(), "; set aside"));
}

// Its descriptor keeps the file readable, whatever happens to the name.
class OpenItemFile final : public OpenItem {
 public:
  OpenItemFile(OpenFile file, const SessionModel& model) : file_(std::move(file)), model_(model) {}

  absl::StatusOr<engine::SnapshotPtr> Read(const Part& part) const override {
    auto bytes = ReadPart(part, model_, [&](AllocatePayload allocate) {
      return part.kind == Part::Kind::kSlot
                 ? ReadRecord(file_, model_, allocate)
                 : ReadRecord(file_, PlaceOf(part, model_), model_, allocate);
    });
    if (bytes.ok()) return bytes;
    const absl::Status& status = bytes.status();
    if (part.kind == Part::Kind::kSlot) return Refused(file_.path(), status);
    if (status.code() != absl::StatusCode::kInvalidArgument) return status;
    const std::string message =
        Concat(file_.path().string(), ": chunk up to token ", part.tokens, ": ", status.message());
    spdlog::error("{}", message);
    return absl::DataLossError(message);
  }

 private:
  const OpenFile file_;
  const SessionModel model_;
};

}  // namespace

fs::path DirectoryShelf::RecordPath(const SessionName& name) const {
  return Folder(name.tenant) / Concat(name.id, kRecordSuffix);
}

fs::path DirectoryShelf::ItemPath(const SessionName& name, const ShelfItem& item) const {
  const std::string_view suffix = item.kind == Part::Kind::kSlot ? kSlotSuffix : kVolumeSuffix;
  return Folder(name.tenant) / Concat(name.id, ".", item.id, suffix);
}

absl::StatusOr<std::unique_ptr<StateShelf>> DirectoryShelf::Open(fs::path dir,
                                                                 const SessionModel& model,
                                                                 int64_t volume_bytes) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) return absl::UnavailableError(Concat(dir.string(), ": ", error.message()));
  absl::StatusOr<OpenFile> lock_file = OpenFile::ForLocking(dir / "lock");
  if (!lock_file.ok()) return lock_file.status();
  auto shelf = absl::WrapUnique(
      new DirectoryShelf(std::move(dir), model, volume_bytes, *std::move(lock_file)));
  // Under the lock, so that a server that starts at the same time does not take our folder for an
  // abandoned one.
  const absl::StatusOr<DirectoryLock> lock = shelf->Lock();
  if (!lock.ok()) return lock.status();
  if (absl::Status status = shelf->MakeScratch(); !status.ok()) return status;
  return shelf;
}

absl::Status DirectoryShelf::MakeScratch() {
  scratch_ = dir_ / Concat(kScratchPrefix, RandomId());
  if (absl::Status status = MakeFolder(scratch_); !status.ok()) return status;
  absl::StatusOr<OpenFile> open = OpenFile::Folder(scratch_);
  if (!open.ok()) return open.status();
  if (flock(open->descriptor(), LOCK_EX | LOCK_NB) != 0) {
    return absl::UnavailableError(Concat(scratch_.string(), ": the disk cannot lock files"));
  }
  scratch_lock_ = *std::move(open);
  return absl::OkStatus();
}

DirectoryShelf::~DirectoryShelf() {
  std::error_code error;
  if (!scratch_.empty()) fs::remove_all(scratch_, error);
}

absl::StatusOr<std::vector<std::string>> DirectoryShelf::Ids(const std::string& tenant) const {
  std::vector<std::string> ids;
  std::error_code error;
  for (fs::directory_iterator entry(Folder(tenant), error), end; !error && entry != end;
       entry.increment(error)) {
    std::string id = SessionOfRecord(entry->path().filename().string());
    if (!id.empty()) ids.push_back(std::move(id));
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return absl::UnavailableError(Concat(Folder(tenant).string(), ": ", error.message()));
  }
  return ids;
}

absl::StatusOr<std::optional<StoredSession>> DirectoryShelf::Read(const SessionName& name,
                                                                  const Version& known) const {
  const absl::StatusOr<Version> version = VersionOf(RecordPath(name));
  if (!version.ok()) return version.status();
  if (*version == known && *version != Version()) return std::nullopt;
  return ReadAny(name);
}

absl::StatusOr<StoredSession> DirectoryShelf::ReadAny(const SessionName& name) const {
  const absl::StatusOr<OpenFile> file = OpenFile::ForReading(RecordPath(name));
  if (!file.ok()) return file.status();
  const absl::StatusOr<FileStamp> stamp = StampOf(*file);
  if (!stamp.ok()) return stamp.status();
  const auto header = ReadRecordHeader(*file, model_);
  if (!header.ok()) return Refused(file->path(), header.status());
  absl::StatusOr<SessionContents> contents = ContentsFromHeader(*header, model_);
  if (!contents.ok()) return Refused(file->path(), contents.status());
  return StoredSession{
      .name = name, .contents = *std::move(contents), .version = VersionOf(*stamp)};
}

absl::StatusOr<std::shared_ptr<Tail>> DirectoryShelf::ReadTail(const SessionName& name,
                                                               const Version& expected) const {
  const absl::StatusOr<OpenFile> file = OpenFile::ForReading(RecordPath(name));
  if (!file.ok()) return file.status();
  const absl::StatusOr<FileStamp> stamp = StampOf(*file);
  if (!stamp.ok()) return stamp.status();
  if (VersionOf(*stamp) != expected) return ChangedByAnother(name);
  internal::RecordHeader header;
  std::string payload;
  absl::Status status =
      ReadRecord(*file, model_,
                 [&](const internal::RecordHeader& found) -> absl::StatusOr<std::span<std::byte>> {
                   if (auto checked = ContentsFromHeader(found, model_); !checked.ok()) {
                     return checked.status();
                   }
                   header = found;
                   payload.resize(found.payload_bytes());
                   return std::as_writable_bytes(std::span(payload));
                 });
  if (!status.ok()) return Refused(file->path(), status);
  auto tail = TailFromPayload(header, payload, model_);
  if (!tail.ok()) return Refused(file->path(), tail.status());
  return tail;
}

absl::StatusOr<std::unique_ptr<OpenItem>> DirectoryShelf::Open(const SessionName& name,
                                                               const ShelfItem& item) const {
  absl::StatusOr<OpenFile> file = OpenFile::ForReading(ItemPath(name, item));
  if (file.ok()) return std::make_unique<OpenItemFile>(*std::move(file), model_);
  if (!absl::IsNotFound(file.status())) return file.status();
  return absl::DataLossError(
      Concat(ItemPath(name, item).string(), ": the file of a state is missing"));
}

absl::Status DirectoryShelf::CheckVersion(const SessionName& name, const Version& expected) const {
  const absl::StatusOr<Version> found = VersionOf(RecordPath(name));
  if (!found.ok()) return found.status();
  return *found == expected ? absl::OkStatus() : ChangedByAnother(name);
}

absl::Status DirectoryShelf::Remove(const SessionName& name, const Version& expected,
                                    const std::vector<ShelfItem>& items) {
  const absl::StatusOr<DirectoryLock> lock = Lock();
  if (!lock.ok()) return lock.status();
  if (absl::Status status = CheckVersion(name, expected); !status.ok()) return status;
  if (expected == Version()) return absl::OkStatus();
  if (absl::Status status = Unlink(RecordPath(name)); !status.ok()) return status;
  if (absl::Status status = SyncFolder(Folder(name.tenant)); !status.ok()) return status;
  for (const ShelfItem& item : items) {
    (void)Unlink(ItemPath(name, item));  // the next start removes what is left over
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::sessions
