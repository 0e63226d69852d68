#include "base/mapped_file.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "base/file.h"

namespace fmaserver {

absl::StatusOr<MappedFile> MappedFile::Open(const std::filesystem::path& file) {
  const absl::StatusOr<FileDescriptor> descriptor = OpenRegularFile(file);
  if (!descriptor.ok()) return descriptor.status();
  struct stat info;
  if (fstat(descriptor->get(), &info) != 0) return FileError(file, errno);
  if (info.st_size == 0) return MappedFile({});

  const size_t size = static_cast<size_t>(info.st_size);
  void* start = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor->get(), 0);
  if (start == MAP_FAILED) return FileError(file, errno);
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
