// Reading files that somebody else may have put there: without waiting, and with a limit.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file_descriptor.h"

namespace fmaserver {

/// What a failed call of the operating system means for `file`: "FILE: No such file or directory",
/// with the code that fits `error`, an errno (NOT_FOUND, PERMISSION_DENIED, ...).
absl::Status FileError(const std::filesystem::path& file, int error);

/// Opens a regular file for reading. Anything else is refused with INVALID_ARGUMENT, a FIFO too,
/// without waiting for its writer.
absl::StatusOr<FileDescriptor> OpenRegularFile(const std::filesystem::path& file);

/// Reads from `descriptor` to the end. INVALID_ARGUMENT when there is more than `max_bytes`;
/// `origin` names the source in messages.
absl::StatusOr<std::string> ReadToEnd(int descriptor, std::string_view origin, size_t max_bytes);

/// The bytes of a regular file of at most `max_bytes`. Errors are those of the two functions above.
absl::StatusOr<std::string> ReadWholeFile(const std::filesystem::path& file, size_t max_bytes);

}  // namespace fmaserver
