// Files that are written durably, each once and completely or, volumes, only at their end. A
// failure of the disk is UNAVAILABLE and names the file and the reason; a missing file is
// NOT_FOUND.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file_descriptor.h"
#include "server/sessions/record.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// Tells one version of a file from the next: every version is a new file.
struct FileStamp {
  uint64_t inode = 0;
  int64_t modified_ns = 0;
  int64_t size = 0;

  bool operator==(const FileStamp&) const = default;
};

/// The stamp as a Version of the record in the file. It is never the empty Version.
Version VersionOf(const FileStamp& stamp);

/// Empty when there is no such file.
absl::StatusOr<Version> VersionOf(const std::filesystem::path& file);

/// An open file, closed by the destructor. Movable.
class OpenFile {
 public:
  /// A regular file, to be read; FAILED_PRECONDITION for anything else.
  static absl::StatusOr<OpenFile> ForReading(const std::filesystem::path& file);
  /// To lock or sync: a folder, or a file, which is made when it is missing.
  static absl::StatusOr<OpenFile> Folder(const std::filesystem::path& folder);
  static absl::StatusOr<OpenFile> ForLocking(const std::filesystem::path& file);
  /// To be written to: a new file, or one that exists.
  static absl::StatusOr<OpenFile> New(const std::filesystem::path& file);
  static absl::StatusOr<OpenFile> ForWriting(const std::filesystem::path& file);

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

/// Writes the record where the file's last write ended. Sync: makes what was written safe on disk.
absl::Status Write(const OpenFile& file, const SealedRecord& record);
absl::Status Sync(const OpenFile& file);

/// Makes `file` with the record's bytes, which are safe on disk when it returns. A failure leaves
/// no file.
absl::Status WriteRecord(const std::filesystem::path& file, const SealedRecord& record);

/// Gives `to`, on the same disk, the contents of `from`: as a hard link where the disk can, else as
/// a copy, which is first made under a name that `scratch` gives. `to` must not exist.
absl::Status LinkOrCopy(const std::filesystem::path& from, const std::filesystem::path& to,
                        absl::FunctionRef<std::filesystem::path()> scratch);

absl::Status Rename(const std::filesystem::path& from, const std::filesystem::path& to);

/// Renames a damaged file to *.damaged and logs why.
void SetAside(const std::filesystem::path& file, const absl::Status& why);

/// Removes the file; OK also when there is none.
absl::Status Unlink(const std::filesystem::path& file);

/// Makes the changes of names in `folder` durable.
absl::Status SyncFolder(const std::filesystem::path& folder);

/// Makes `folder` durably when it is missing; its parent must exist.
absl::Status MakeFolder(const std::filesystem::path& folder);

/// Where in a file a record lies.
struct RecordPlace {
  int64_t offset = 0;
  int64_t bytes = 0;
};

/// Reads the record of the model that takes exactly this place; one that is the whole file without
/// a place. `allocate` is never asked for a payload larger than the place. INVALID_ARGUMENT and
/// FAILED_PRECONDITION mean what they mean for RecordReader.
absl::Status ReadRecord(const OpenFile& file, const RecordPlace& place, const SessionModel& model,
                        AllocatePayload allocate);
absl::Status ReadRecord(const OpenFile& file, const SessionModel& model, AllocatePayload allocate);

/// Reads only the header of a record that is the whole file, and checks the payload's size against
/// the file's.
absl::StatusOr<internal::RecordHeader> ReadRecordHeader(const OpenFile& file,
                                                        const SessionModel& model);

}  // namespace fmaserver::sessions
