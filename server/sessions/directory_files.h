// Files that are written once, whole and durably. Failures of the disk are UNAVAILABLE and name the
// file and the reason; a file that is not there is NOT_FOUND.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/sessions/record.h"

namespace fmaserver::sessions {

/// Tells one version of a file from the next: every version is a file of its own.
struct FileStamp {
  uint64_t inode = 0;
  int64_t modified_ns = 0;
  int64_t size = 0;

  bool operator==(const FileStamp&) const = default;
};

/// Absent when there is no such file.
absl::StatusOr<std::optional<FileStamp>> StampOf(const std::filesystem::path& file);

/// An open file, closed by the destructor. Movable.
class OpenFile {
 public:
  /// A regular file, to be read.
  static absl::StatusOr<OpenFile> ForReading(const std::filesystem::path& file);
  /// A folder, or a file that is made when missing: to be locked or synced.
  static absl::StatusOr<OpenFile> Folder(const std::filesystem::path& folder);
  static absl::StatusOr<OpenFile> ForLocking(const std::filesystem::path& file);

  OpenFile(OpenFile&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}
  OpenFile& operator=(OpenFile&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~OpenFile();

  int descriptor() const { return descriptor_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  static absl::StatusOr<OpenFile> Open(const std::filesystem::path& path, int flags);
  OpenFile(int descriptor, std::filesystem::path path)
      : descriptor_(descriptor), path_(std::move(path)) {}

  int descriptor_ = -1;
  std::filesystem::path path_;
};

absl::StatusOr<FileStamp> StampOf(const OpenFile& file);

/// Makes `file` with the record's bytes, on disk when it returns. A failure leaves nothing.
absl::Status WriteRecord(const std::filesystem::path& file, const SealedRecord& record);

/// Gives `to`, in a folder of the same disk, the contents of `from` without writing them again
/// where the disk can; else as a copy, made under the name `scratch`. `to` must not exist.
absl::Status LinkOrCopy(const std::filesystem::path& from, const std::filesystem::path& to,
                        const std::filesystem::path& scratch);

absl::Status Rename(const std::filesystem::path& from, const std::filesystem::path& to);

/// Success also when it is not there.
absl::Status Unlink(const std::filesystem::path& file);

/// Makes what happened to names in `folder` durable.
absl::Status SyncFolder(const std::filesystem::path& folder);

/// Makes `folder`, durably, when it is missing; its parent must be there.
absl::Status MakeFolder(const std::filesystem::path& folder);

/// Gives room for the payload that a header announces, or says why not.
using PlacePayload =
    std::function<absl::StatusOr<std::span<std::byte>>(const internal::RecordHeader&)>;

/// Reads a file that holds exactly one record of the model. The payload that `place` is asked for
/// is never larger than the file. INVALID_ARGUMENT and FAILED_PRECONDITION as RecordReader.
absl::Status ReadRecord(const OpenFile& file, std::string_view model, const PlacePayload& place);

/// The header alone; the payload's size is checked against the file's.
absl::StatusOr<internal::RecordHeader> ReadRecordHeader(const OpenFile& file,
                                                        std::string_view model);

}  // namespace fmaserver::sessions
