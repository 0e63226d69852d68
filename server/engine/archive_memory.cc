#include "server/engine/archive_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/memory/memory.h"
#include "base/text.h"

namespace fmaserver::engine {
namespace {

absl::Status Failed(const std::filesystem::path& dir, std::string_view what, int error) {
  const std::string message =
      Concat("archive in ", dir.string(), ": ", what, ": ", std::strerror(error));
  // A file may be as full as a disk: EFBIG.
  return error == ENOSPC || error == EDQUOT || error == EFBIG
             ? absl::ResourceExhaustedError(message)
             : absl::UnavailableError(message);
}

/// A file without a name, which is gone when it is closed.
absl::StatusOr<int> OpenUnnamed(const std::filesystem::path& dir) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return Failed(dir, "the folder cannot be made", error.value());
  constexpr int kMode = 0600;
  int file = open(dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, kMode);
  if (file >= 0) return file;
  // Not every file system has files without names.
  std::string name = dir / ".archive-XXXXXX";
  file = mkostemp(name.data(), O_CLOEXEC);
  if (file < 0) return Failed(dir, "a file cannot be made", errno);
  unlink(name.c_str());
  return file;
}

/// Units are read here and there. Of a file the system would read much around each, which pushes
/// out what is wanted when memory is short; in memory small pages take longer to find than to read.
void ExpectUnits(void* base, size_t bytes, bool in_file) {
  static_cast<void>(madvise(base, bytes, in_file ? MADV_RANDOM : MADV_HUGEPAGE));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ArchiveMemory>> ArchiveMemory::Create(
    const std::filesystem::path& dir, int64_t bytes, int64_t places) {
  int file = -1;
  if (!dir.empty()) {
    const absl::StatusOr<int> opened = OpenUnnamed(dir);
    if (!opened.ok()) return opened.status();
    file = *opened;
  }
  absl::Cleanup close_file = [file] {
    if (file >= 0) close(file);
  };
  const int64_t page = sysconf(_SC_PAGESIZE);
  const int64_t stride = (bytes + page - 1) / page * page;
  // What is mapped past the end of the file is not touched before Back() has moved the end.
  const int flags = file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
  void* base =
      mmap(nullptr, static_cast<size_t>(stride * places), PROT_READ | PROT_WRITE, flags, file, 0);
  if (base == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        Concat("archive: ", stride * places, " bytes cannot be addressed: ", std::strerror(errno)));
  }
  ExpectUnits(base, static_cast<size_t>(stride * places), file >= 0);
  std::move(close_file).Cancel();
  return absl::WrapUnique(
      new ArchiveMemory(dir, file, static_cast<std::byte*>(base), bytes, stride, places));
}

ArchiveMemory::ArchiveMemory(std::filesystem::path dir, int file, std::byte* base, int64_t bytes,
                             int64_t stride, int64_t places)
    : dir_(std::move(dir)),
      file_(file),
      base_(base),
      bytes_(bytes),
      stride_(stride),
      places_(places) {
  if (file_ >= 0) lost_.emplace(std::span(base_, static_cast<size_t>(stride_ * places_)), stride_);
}

ArchiveMemory::~ArchiveMemory() {
  lost_.reset();
  munmap(base_, static_cast<size_t>(stride_ * places_));
  if (file_ >= 0) close(file_);
}

std::span<std::byte> ArchiveMemory::At(int64_t place) const {
  return {base_ + place * stride_, static_cast<size_t>(bytes_)};
}

absl::Status ArchiveMemory::Back(int64_t place) const {
  if (file_ < 0) return absl::OkStatus();
  int error = EINTR;
  while (error == EINTR) error = posix_fallocate(file_, place * stride_, stride_);
  if (error == 0) return absl::OkStatus();
  return Failed(dir_, Concat("no room for ", stride_, " bytes more"), error);
}

absl::Status ArchiveMemory::Renew(int64_t place) {
  if (mmap(At(place).data(), static_cast<size_t>(stride_), PROT_READ | PROT_WRITE,
           MAP_SHARED | MAP_FIXED, file_, place * stride_) == MAP_FAILED) {
    return Failed(dir_, "a lost page cannot be mapped anew", errno);
  }
  ExpectUnits(At(place).data(), static_cast<size_t>(stride_), /*in_file=*/true);
  lost_->Forget(place);
  return absl::OkStatus();
}

}  // namespace fmaserver::engine
