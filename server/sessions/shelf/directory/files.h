// Files that are written once, whole and durably. Failures of the disk are UNAVAILABLE and name the
// file and the reason; a file that is not there is NOT_FOUND.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file_descriptor.h"
#include "server/sessions/record.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// Tells one version of a file from the next: every version is a file of its own.
struct FileStamp {
  uint64_t inode = 0;
  int64_t modified_ns = 0;
  int64_t size = 0;

  bool operator==(const FileStamp&) const = default;
};

/// Of the version of a record that the file is; a stamp is never an empty version.
Version VersionOf(const FileStamp& stamp);

/// Empty when there is no such file.
absl::StatusOr<Version> VersionOf(const std::filesystem::path& file);

/// An open file, closed by the destructor. Movable.
class OpenFile {
 public:
  /// A regular file, to be read; FAILED_PRECONDITION for anything else.
  static absl::StatusOr<OpenFile> ForReading(const std::filesystem::path& file);
  /// A folder, or a file that is made when missing: to be locked or synced.
  static absl::StatusOr<OpenFile> Folder(const std::filesystem::path& folder);
  static absl::StatusOr<OpenFile> ForLocking(const std::filesystem::path& file);

  int descriptor() const { return descriptor_.get(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  static absl::StatusOr<OpenFile> Open(const std::filesystem::path& path, int flags);
  OpenFile(FileDescriptor descriptor, std::filesystem::path path)
      : descriptor_(std::move(descriptor)), path_(std::move(path)) {}

  FileDescriptor descriptor_;
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

/// Renames a damaged file to *.damaged and logs why.
void SetAside(const std::filesystem::path& file, const absl::Status& why);

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
