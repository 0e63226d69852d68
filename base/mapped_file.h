// A file's bytes, mapped read-only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "absl/status/statusor.h"

namespace fmaserver {

/// Owns the mapping. Movable; a move keeps the address of bytes(). The file must not shrink while
/// it is mapped: reading past its new end raises SIGBUS.
class MappedFile {
 public:
  /// NOT_FOUND when there is no such file, INVALID_ARGUMENT when it is not a regular file. An empty
  /// file gives no bytes.
  static absl::StatusOr<MappedFile> Open(const std::filesystem::path& file);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> bytes_;
};

}  // namespace fmaserver
