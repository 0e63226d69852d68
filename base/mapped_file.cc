#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "base/text.h"

namespace fmaserver {

absl::StatusOr<MappedFile> MappedFile::Open(const std::filesystem::path& file) {
  // Non-blocking, so that a FIFO in the place of a file is refused below instead of waited for.
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return absl::ErrnoToStatus(errno, file.string());
  const auto closer = absl::MakeCleanup([descriptor] { close(descriptor); });

  struct stat info;
  if (fstat(descriptor, &info) != 0) return absl::ErrnoToStatus(errno, file.string());
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(Concat(file.string(), ": not a regular file"));
  }
  if (info.st_size == 0) return MappedFile({});

  const size_t size = static_cast<size_t>(info.st_size);
  void* start = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (start == MAP_FAILED) return absl::ErrnoToStatus(errno, file.string());
  return MappedFile({static_cast<const std::byte*>(start), size});
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  // The other's destructor unmaps what was ours.
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace fmaserver
