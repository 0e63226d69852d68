#include "server/sessions/session_directory.h"

#include <spdlog/spdlog.h>

#include <system_error>
#include <utility>

#include "base/text.h"
#include "server/sessions/directory_lock.h"
#include "server/sessions/directory_names.h"
#include "server/sessions/session_codec.h"
#include "server/sessions/session_name.h"

namespace fmaserver::sessions {
namespace {

namespace fs = std::filesystem;

// A record that its reader refused as damaged is set aside; other errors pass.
absl::Status Refused(const fs::path& file, const absl::Status& status) {
  if (status.code() != absl::StatusCode::kInvalidArgument) return status;
  SetAside(file, status);
  return absl::DataLossError(Concat(file.string(), ": ", status.message(), "; set aside"));
}

absl::Status ChangedMeanwhile(const SessionName& name) {
  return absl::AbortedError(Concat(Describe(name), ": another server changed it meanwhile"));
}

}  // namespace

void SetAside(const fs::path& file, const absl::Status& why) {
  const fs::path aside = Concat(file.string(), kDamagedSuffix);
  const absl::Status renamed = Rename(file, aside);
  spdlog::error("{}: {}; {}", file.string(), std::string(why.message()),
                renamed.ok() ? "set aside as " + aside.string()
                             : "and cannot be set aside: " + std::string(renamed.message()));
}

fs::path SessionDirectory::RecordPath(const SessionName& name) const {
  return Folder(name.tenant) / Concat(name.id, kRecordSuffix);
}

fs::path SessionDirectory::StatePath(const SessionName& name, const std::string& state) const {
  return Folder(name.tenant) / Concat(name.id, ".", state, kStateSuffix);
}

SessionDirectory::~SessionDirectory() {
  std::error_code error;
  if (!scratch_.empty()) fs::remove_all(scratch_, error);
}

absl::StatusOr<std::optional<FileStamp>> SessionDirectory::Stamp(const SessionName& name) const {
  return StampOf(RecordPath(name));
}

absl::StatusOr<std::vector<std::string>> SessionDirectory::Ids(const std::string& tenant) const {
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

absl::StatusOr<StoredSession> SessionDirectory::Read(const SessionName& name) const {
  const absl::StatusOr<OpenFile> file = OpenFile::ForReading(RecordPath(name));
  if (!file.ok()) return file.status();
  const absl::StatusOr<FileStamp> stamp = StampOf(*file);
  if (!stamp.ok()) return stamp.status();
  const auto header = ReadRecordHeader(*file, model_.fingerprint);
  if (!header.ok()) return Refused(file->path(), header.status());
  absl::StatusOr<SessionContents> contents = ContentsFromHeader(*header);
  if (!contents.ok()) return Refused(file->path(), contents.status());
  return StoredSession{.name = name, .contents = *std::move(contents), .stamp = *stamp};
}

absl::StatusOr<std::shared_ptr<Tail>> SessionDirectory::ReadTail(
    const SessionName& name, const std::optional<FileStamp>& expected) const {
  const absl::StatusOr<OpenFile> file = OpenFile::ForReading(RecordPath(name));
  if (!file.ok()) return file.status();
  const absl::StatusOr<FileStamp> stamp = StampOf(*file);
  if (!stamp.ok()) return stamp.status();
  if (*stamp != expected) return ChangedMeanwhile(name);
  internal::RecordHeader header;
  std::string payload;
  absl::Status status =
      ReadRecord(*file, model_.fingerprint,
                 [&](const internal::RecordHeader& found) -> absl::StatusOr<std::span<std::byte>> {
                   if (auto checked = ContentsFromHeader(found); !checked.ok()) {
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

absl::StatusOr<OpenFile> SessionDirectory::OpenState(const SessionName& name,
                                                     const Point& point) const {
  absl::StatusOr<OpenFile> file = OpenFile::ForReading(StatePath(name, point.id));
  if (file.status().code() != absl::StatusCode::kNotFound) return file;
  return absl::DataLossError(
      Concat(StatePath(name, point.id).string(), ": the file of a state is missing"));
}

absl::StatusOr<engine::SnapshotPtr> SessionDirectory::ReadState(const OpenFile& file,
                                                                const Point& point) const {
  std::shared_ptr<engine::Snapshot> snapshot;
  const absl::Status status = ReadRecord(
      file, model_.fingerprint,
      [&](const internal::RecordHeader& found) -> absl::StatusOr<std::span<std::byte>> {
        if (absl::Status checked = CheckStateHeader(found, point, model_); !checked.ok()) {
          return checked;
        }
        snapshot = std::make_shared<engine::Snapshot>(point.tokens, model_.slot_bytes);
        return snapshot->mutable_bytes();
      });
  if (status.code() == absl::StatusCode::kFailedPrecondition) {
    // Our own session lists it, so it cannot be another model's.
    return Refused(file.path(), absl::InvalidArgumentError(status.message()));
  }
  if (!status.ok()) return Refused(file.path(), status);
  return snapshot;
}

absl::Status SessionDirectory::CheckStamp(const SessionName& name,
                                          const std::optional<FileStamp>& expected) const {
  const absl::StatusOr<std::optional<FileStamp>> found = Stamp(name);
  if (!found.ok()) return found.status();
  if (*found == expected) return absl::OkStatus();
  return ChangedMeanwhile(name);
}

absl::Status SessionDirectory::Remove(const SessionName& name,
                                      const std::optional<FileStamp>& expected,
                                      const std::vector<PointPtr>& points) {
  const Lock lock(*this);
  if (absl::Status status = CheckStamp(name, expected); !status.ok()) return status;
  if (!expected.has_value()) return absl::OkStatus();
  if (absl::Status status = Unlink(RecordPath(name)); !status.ok()) return status;
  if (absl::Status status = SyncFolder(Folder(name.tenant)); !status.ok()) return status;
  for (const PointPtr& point : points) {
    (void)Unlink(StatePath(name, point->id));  // what stays by mistake is removed by the next start
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::sessions
