#include "clients/cpp/blob_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/refusal.h"
#include "command_line/output.h"

namespace fmaserver::client {
namespace {

namespace fs = std::filesystem;

/// Where the links that begin at `name` end, whether a file is there or not.
absl::StatusOr<std::string> EndOfLinks(const std::string& name) {
  constexpr int kMaxLinks = 40;  // as the kernel
  fs::path path = name;
  std::error_code error;
  for (int i = 0; fs::is_symlink(path, error); ++i) {
    if (i == kMaxLinks) return FileError(name, ELOOP);
    const fs::path target = fs::read_symlink(path, error);
    if (error) return FileError(path, error.value());
    path = path.parent_path() / target;  // an absolute target stands alone
  }
  return path.string();
}

}  // namespace

absl::StatusOr<ExportFile> ExportFile::Create(const std::string& name) {
  if (name == "-") return ExportFile("standard output", {}, {});
  struct stat info;
  const bool is_file = stat(name.c_str(), &info) != 0 || S_ISREG(info.st_mode);
  if (!is_file && S_ISDIR(info.st_mode)) {
    return Refusal(name, Words{"a folder"}, "a file, a FIFO, a device, or - for standard output");
  }
  if (!is_file) {
    FileDescriptor descriptor(open(name.c_str(), O_WRONLY | O_CLOEXEC));
    if (!descriptor) return FileError(name, errno);
    return ExportFile(name, {}, std::move(descriptor));
  }
  auto path = EndOfLinks(name);
  if (!path.ok()) return path.status();
  std::string unfinished = Concat(*path, ".", getpid(), ".part");
  constexpr mode_t kMode = 0666;  // less what umask takes
  FileDescriptor descriptor(
      open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kMode));
  if (!descriptor) return FileError(unfinished, errno);
  return ExportFile(*std::move(path), std::move(unfinished), std::move(descriptor));
}

ExportFile::ExportFile(std::string name, std::string unfinished, FileDescriptor descriptor)
    : name_(std::move(name)),
      unfinished_(std::move(unfinished)),
      descriptor_(std::move(descriptor)) {}

ExportFile::ExportFile(ExportFile&& other) noexcept
    : name_(std::move(other.name_)),
      unfinished_(std::exchange(other.unfinished_, {})),
      descriptor_(std::move(other.descriptor_)),
      status_(std::move(other.status_)) {}

ExportFile::~ExportFile() {
  if (!unfinished_.empty()) unlink(unfinished_.c_str());
}

absl::Status ExportFile::Write(std::string_view bytes) {
  if (status_.ok() && !descriptor_ && !WriteOutput(bytes)) {
    status_ = absl::CancelledError("standard output takes no more");
  }
  while (status_.ok() && descriptor_ && !bytes.empty()) {
    const ssize_t count = write(descriptor_.get(), bytes.data(), bytes.size());
    if (count >= 0) {
      bytes.remove_prefix(static_cast<size_t>(count));
    } else if (errno != EINTR) {
      status_ = FileError(name_, errno);
    }
  }
  return status_;
}

absl::Status ExportFile::Finish() {
  if (!status_.ok() || unfinished_.empty()) return status_;
  // A disk of the network may say only now that it is full.
  if (fsync(descriptor_.get()) != 0 || std::rename(unfinished_.c_str(), name_.c_str()) != 0) {
    return status_ = FileError(name_, errno);
  }
  unfinished_.clear();
  return status_;
}

absl::StatusOr<ImportFile> ImportFile::Open(const std::string& name) {
  if (name == "-") return ImportFile("standard input", FileDescriptor(dup(STDIN_FILENO)));
  FileDescriptor descriptor(open(name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!descriptor) return FileError(name, errno);
  return ImportFile(name, std::move(descriptor));
}

absl::Status ImportFile::Read(std::string& piece) const {
  constexpr size_t kPieceBytes = size_t{1} << 20;
  piece.resize(kPieceBytes);
  ssize_t count = 0;
  do {
    count = read(descriptor_.get(), piece.data(), piece.size());
  } while (count < 0 && errno == EINTR);
  if (count < 0) return FileError(name_, errno);
  piece.resize(static_cast<size_t>(count));
  return absl::OkStatus();
}

}  // namespace fmaserver::client
