// Where `fma sessions export` writes and `fma sessions import` reads.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file_descriptor.h"

namespace fmaserver::client {

/// A file appears under its name when it is whole: no half of a blob is ever taken for one. What is
/// at the end of a link is replaced, and not the link. A FIFO or a device is written to as it is;
/// "-" is standard output.
class ExportFile {
 public:
  /// INVALID_ARGUMENT for a folder, else what the system says.
  static absl::StatusOr<ExportFile> Create(const std::string& name);
  ExportFile(ExportFile&& other) noexcept;
  ExportFile& operator=(ExportFile&&) = delete;
  /// Without Finish() nothing is left of a file.
  ~ExportFile();

  /// What failed first is what every later call says.
  absl::Status Write(std::string_view bytes);
  absl::Status Finish();

 private:
  ExportFile(std::string name, std::string unfinished, FileDescriptor descriptor);

  std::string name_;           // of messages and, of a file, where it goes
  std::string unfinished_;     // its name until then; empty: it is no file
  FileDescriptor descriptor_;  // empty: standard output
  absl::Status status_;
};

class ImportFile {
 public:
  /// A file, a FIFO or a device; "-" is standard input. Errors are what the system says.
  static absl::StatusOr<ImportFile> Open(const std::string& name);

  /// The next bytes; none at the end.
  absl::Status Read(std::string& piece) const;

 private:
  ImportFile(std::string name, FileDescriptor descriptor)
      : name_(std::move(name)), descriptor_(std::move(descriptor)) {}

  std::string name_;
  FileDescriptor descriptor_;
};

}  // namespace fmaserver::client
