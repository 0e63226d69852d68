#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver {
namespace {

const char* KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

}  // namespace

absl::Status FileError(const std::filesystem::path& file, int error) {
  return absl::ErrnoToStatus(error, file.string());
}

absl::StatusOr<FileDescriptor> OpenRegularFile(const std::filesystem::path& file) {
  // Non-blocking: opening a FIFO must not wait for its writer; it is refused below.
  FileDescriptor descriptor(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!descriptor) return FileError(file, errno);
  struct stat info;
  if (fstat(descriptor.get(), &info) != 0) return FileError(file, errno);
  if (S_ISREG(info.st_mode)) return descriptor;
  return Refusal(file.string(), Words{KindOf(info.st_mode)}, "a regular file");
}

absl::StatusOr<std::string> ReadToEnd(int descriptor, std::string_view origin, size_t max_bytes) {
  constexpr size_t kPieceBytes = size_t{64} << 10;
  std::string bytes;
  for (;;) {
    const size_t size = bytes.size();
    // Reading one byte more than allowed tells whether there is too much.
    bytes.resize(size + std::min(kPieceBytes, max_bytes - size + 1));
    const ssize_t count = read(descriptor, bytes.data() + size, bytes.size() - size);
    if (count < 0 && errno != EINTR) return FileError(origin, errno);
    bytes.resize(size + static_cast<size_t>(std::max<ssize_t>(count, 0)));
    if (count == 0) return bytes;
    if (bytes.size() > max_bytes) {
      return Refusal(At(origin, "size"), Words{Concat("more than ", max_bytes, " bytes")},
                     Concat("at most ", max_bytes, " bytes"));
    }
  }
}

absl::StatusOr<std::string> ReadWholeFile(const std::filesystem::path& file, size_t max_bytes) {
  const absl::StatusOr<FileDescriptor> descriptor = OpenRegularFile(file);
  if (!descriptor.ok()) return descriptor.status();
  return ReadToEnd(descriptor->get(), file.string(), max_bytes);
}

}  // namespace fmaserver
