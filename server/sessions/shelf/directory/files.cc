#include "server/sessions/shelf/directory/files.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "base/refusal.h"
#include "base/sha256.h"
#include "base/text.h"
#include "server/sessions/shelf/directory/names.h"

namespace fmaserver::sessions {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kFileMode = 0600;  // conversations are nobody else's business
constexpr mode_t kFolderMode = 0700;

absl::Status DiskError(const fs::path& path, int error) {
  const std::string message = Concat(path.string(), ": ", std::generic_category().message(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
}

FileStamp StampFrom(const struct stat& info) {
  constexpr int64_t kNanoseconds = 1'000'000'000;
  return {.inode = info.st_ino,
          .modified_ns = info.st_mtim.tv_sec * kNanoseconds + info.st_mtim.tv_nsec,
          .size = info.st_size};
}

absl::Status WriteAll(const OpenFile& file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(file.descriptor(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return DiskError(file.path(), errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status SyncFile(const fs::path& file) {
  absl::StatusOr<OpenFile> open = OpenFile::ForReading(file);
  if (!open.ok()) return open.status();
  return Sync(*open);
}

// Copies into `scratch`, syncs, and gives it its name.
absl::Status Copy(const fs::path& from, const fs::path& to, const fs::path& scratch) {
  std::error_code error;
  fs::copy_file(from, scratch, fs::copy_options::overwrite_existing, error);
  const auto cleaner = absl::MakeCleanup([&scratch] { unlink(scratch.c_str()); });
  if (error) return DiskError(scratch, error.value());
  if (absl::Status status = SyncFile(scratch); !status.ok()) return status;
  return Rename(scratch, to);
}

// A file as RecordReader takes it: piece by piece, with the number of bytes still to come.
class FilePieces {
 public:
  static constexpr size_t kPieceBytes = size_t{1} << 20;

  FilePieces(const OpenFile& file, const RecordPlace& place, size_t piece_bytes)
      : file_(file), offset_(place.offset), left_(place.bytes), piece_(piece_bytes, '\0') {}

  std::string_view& bytes() { return bytes_; }
  int64_t remaining() const { return left_ + static_cast<int64_t>(bytes_.size()); }

  // Call it when bytes() has been used up.
  absl::Status Next() {
    ssize_t count = 0;
    do {
      const auto size = std::min<int64_t>(left_, std::ssize(piece_));
      count = pread(file_.descriptor(), piece_.data(), static_cast<size_t>(size), offset_);
    } while (count < 0 && errno == EINTR);
    if (count < 0) return DiskError(file_.path(), errno);
    if (count == 0) return absl::InvalidArgumentError("damaged: the file ends too early");
    offset_ += count;
    left_ -= count;
    bytes_ = std::string_view(piece_).substr(0, static_cast<size_t>(count));
    return absl::OkStatus();
  }

 private:
  const OpenFile& file_;
  int64_t offset_;
  int64_t left_;
  std::string piece_;
  std::string_view bytes_;
};

absl::Status ReadUntil(RecordReader::Event goal, RecordReader& reader, FilePieces& pieces) {
  for (;;) {
    const absl::StatusOr<RecordReader::Event> event = reader.Read(pieces.bytes());
    if (!event.ok()) return event.status();
    if (*event == goal) return absl::OkStatus();
    if (absl::Status status = pieces.Next(); !status.ok()) return status;
  }
}

absl::Status ReadHeader(RecordReader& reader, FilePieces& pieces) {
  if (absl::Status status = ReadUntil(RecordReader::Event::kHeader, reader, pieces); !status.ok()) {
    return status;
  }
  const int64_t rest = pieces.remaining() - static_cast<int64_t>(kSha256Bytes);
  if (rest == static_cast<int64_t>(reader.header().payload_bytes())) return absl::OkStatus();
  return At("damaged", Refusal("payload", Words{Concat(rest, " bytes")},
                               Concat(reader.header().payload_bytes(), " bytes")));
}

}  // namespace

Version VersionOf(const FileStamp& stamp) {
  return {Concat(stamp.inode, " ", stamp.modified_ns, " ", stamp.size)};
}

absl::StatusOr<Version> VersionOf(const fs::path& file) {
  struct stat info;
  if (stat(file.c_str(), &info) == 0) return VersionOf(StampFrom(info));
  if (errno == ENOENT) return Version();
  return DiskError(file, errno);
}

absl::StatusOr<FileStamp> StampOf(const OpenFile& file) {
  struct stat info;
  if (fstat(file.descriptor(), &info) != 0) return DiskError(file.path(), errno);
  return StampFrom(info);
}

absl::StatusOr<OpenFile> OpenFile::Open(const fs::path& path, int flags) {
  FileDescriptor descriptor(open(path.c_str(), flags | O_CLOEXEC, kFileMode));
  if (!descriptor) return DiskError(path, errno);
  return OpenFile(std::move(descriptor), path);
}

absl::StatusOr<OpenFile> OpenFile::ForReading(const fs::path& file) {
  // Non-blocking: opening a FIFO must not wait for its writer; it is refused.
  absl::StatusOr<OpenFile> open = Open(file, O_RDONLY | O_NONBLOCK);
  if (!open.ok()) return open.status();
  struct stat info;
  if (fstat(open->descriptor(), &info) != 0) return DiskError(file, errno);
  if (!S_ISREG(info.st_mode)) {
    return Refusal(file.string(), Words{"not a regular file"}, "a regular file",
                   absl::StatusCode::kFailedPrecondition);
  }
  return open;
}

absl::StatusOr<OpenFile> OpenFile::Folder(const fs::path& folder) {
  return Open(folder, O_RDONLY | O_DIRECTORY);
}

absl::StatusOr<OpenFile> OpenFile::ForLocking(const fs::path& file) {
  return Open(file, O_RDWR | O_CREAT);
}

absl::StatusOr<OpenFile> OpenFile::New(const fs::path& file) {
  return Open(file, O_WRONLY | O_CREAT | O_EXCL);
}

absl::StatusOr<OpenFile> OpenFile::ForWriting(const fs::path& file) {
  return Open(file, O_WRONLY | O_NOFOLLOW);
}

absl::Status Write(const OpenFile& file, const SealedRecord& record) {
  const std::string_view payload(reinterpret_cast<const char*>(record.payload.data()),
                                 record.payload.size());
  for (const std::string_view part :
       {std::string_view(record.head), payload, std::string_view(record.digest)}) {
    if (absl::Status status = WriteAll(file, part); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Sync(const OpenFile& file) {
  return fsync(file.descriptor()) == 0 ? absl::OkStatus() : DiskError(file.path(), errno);
}

absl::Status WriteRecord(const fs::path& file, const SealedRecord& record) {
  absl::StatusOr<OpenFile> open = OpenFile::New(file);
  if (!open.ok()) return open.status();
  absl::Status status = Write(*open, record);
  if (status.ok()) status = Sync(*open);
  if (!status.ok()) unlink(file.c_str());
  return status;
}

absl::Status LinkOrCopy(const fs::path& from, const fs::path& to,
                        absl::FunctionRef<fs::path()> scratch) {
  if (link(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  // Not every file system has hard links, and each limits how many a file may have.
  if (errno != EPERM && errno != EMLINK && errno != EOPNOTSUPP && errno != ENOSYS) {
    return DiskError(errno == ENOENT ? from : to, errno);
  }
  return Copy(from, to, scratch());
}

absl::Status Rename(const fs::path& from, const fs::path& to) {
  return rename(from.c_str(), to.c_str()) == 0 ? absl::OkStatus() : DiskError(to, errno);
}

void SetAside(const fs::path& file, const absl::Status& why) {
  const fs::path aside = Concat(file.string(), kDamagedSuffix);
  const absl::Status renamed = Rename(file, aside);
  spdlog::error("{}: {}; {}", file.string(), std::string(why.message()),
                renamed.ok() ? "set aside as " + aside.string()
                             : "and cannot be set aside: " + std::string(renamed.message()));
}

absl::Status Unlink(const fs::path& file) {
  if (unlink(file.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return DiskError(file, errno);
}

absl::Status SyncFolder(const fs::path& folder) {
  absl::StatusOr<OpenFile> open = OpenFile::Folder(folder);
  if (!open.ok()) return open.status();
  return fsync(open->descriptor()) == 0 ? absl::OkStatus() : DiskError(folder, errno);
}

absl::Status MakeFolder(const fs::path& folder) {
  if (mkdir(folder.c_str(), kFolderMode) == 0) return SyncFolder(folder.parent_path());
  return errno == EEXIST ? absl::OkStatus() : DiskError(folder, errno);
}

absl::Status ReadRecord(const OpenFile& file, const RecordPlace& place, const SessionModel& model,
                        AllocatePayload allocate) {
  RecordReader reader(model);
  FilePieces pieces(file, place, FilePieces::kPieceBytes);
  if (absl::Status status = ReadHeader(reader, pieces); !status.ok()) return status;
  const absl::StatusOr<std::span<std::byte>> payload = allocate(reader.header());
  if (!payload.ok()) return payload.status();
  reader.SetPayload(*payload);
  return ReadUntil(RecordReader::Event::kDone, reader, pieces);
}

absl::Status ReadRecord(const OpenFile& file, const SessionModel& model, AllocatePayload allocate) {
  const absl::StatusOr<FileStamp> stamp = StampOf(file);
  if (!stamp.ok()) return stamp.status();
  return ReadRecord(file, {.bytes = stamp->size}, model, allocate);
}

absl::StatusOr<internal::RecordHeader> ReadRecordHeader(const OpenFile& file,
                                                        const SessionModel& model) {
  constexpr size_t kUsualHeaderBytes = 4096;
  const absl::StatusOr<FileStamp> stamp = StampOf(file);
  if (!stamp.ok()) return stamp.status();
  RecordReader reader(model);
  FilePieces pieces(file, {.bytes = stamp->size}, kUsualHeaderBytes);
  if (absl::Status status = ReadHeader(reader, pieces); !status.ok()) return status;
  return reader.header();
}

}  // namespace fmaserver::sessions
