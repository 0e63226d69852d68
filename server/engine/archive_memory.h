// The memory in which the tokens of an archive lie: equal places in one mapping, of memory or of a
// file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/lost_pages.h"

namespace fmaserver::engine {

/// Address space for all places is mapped from the start. Memory is taken when a place is first
/// written, disk space by Back(); both stay for the next use of the place. Different threads may
/// use different places.
class ArchiveMemory {
 public:
  /// `places` places of `bytes` bytes each, in memory when `dir` is empty, else in a file of this
  /// folder, which has no name, so that nothing is left when the server ends. UNAVAILABLE when the
  /// folder or the file cannot be used.
  static absl::StatusOr<std::unique_ptr<ArchiveMemory>> Create(const std::filesystem::path& dir,
                                                               int64_t bytes, int64_t places);
  ~ArchiveMemory();
  ArchiveMemory(const ArchiveMemory&) = delete;
  ArchiveMemory& operator=(const ArchiveMemory&) = delete;

  /// The bytes of a place, which begin at a whole page.
  std::span<std::byte> At(int64_t place) const;

  /// Makes sure that writing to the place cannot fail for want of disk space. RESOURCE_EXHAUSTED
  /// when the disk is full, UNAVAILABLE when it fails. May wait for the disk.
  absl::Status Back(int64_t place) const;

  /// Whether bytes of the place are gone, because the disk could not bring a page of them; those
  /// read as zeros. Only of a file.
  bool Lost(int64_t place) const { return lost_.has_value() && lost_->IsLost(place); }
  /// How many pages were lost so far.
  int64_t lost_pages() const { return lost_.has_value() ? lost_->count() : 0; }
  /// Makes a lost place good for another use. UNAVAILABLE when that fails.
  absl::Status Renew(int64_t place);

  bool in_file() const { return file_ >= 0; }
  const std::filesystem::path& dir() const { return dir_; }

 private:
  ArchiveMemory(std::filesystem::path dir, int file, std::byte* base, int64_t bytes, int64_t stride,
                int64_t places);

  const std::filesystem::path dir_;
  const int file_;  // -1: memory
  std::byte* const base_;
  const int64_t bytes_;
  const int64_t stride_;
  const int64_t places_;
  std::optional<LostPages> lost_;  // of a file
};

}  // namespace fmaserver::engine
