// The lock of a session directory, between threads and between processes.
#pragma once

#include <mutex>

#include "absl/status/statusor.h"
#include "server/sessions/shelf/directory/files.h"

namespace fmaserver::sessions {

/// Holds the lock while it lives.
class DirectoryLock {
 public:
  /// Waits until it is free: `mutex` between the threads of a process, `file` between processes.
  /// UNAVAILABLE when the disk cannot lock files, or fails.
  static absl::StatusOr<DirectoryLock> Take(std::mutex& mutex, const OpenFile& file);

  DirectoryLock(DirectoryLock&& other) noexcept
      : guard_(std::move(other.guard_)), descriptor_(std::exchange(other.descriptor_, -1)) {}
  DirectoryLock& operator=(DirectoryLock&&) = delete;
  ~DirectoryLock();

 private:
  DirectoryLock(std::unique_lock<std::mutex> guard, int descriptor)
      : guard_(std::move(guard)), descriptor_(descriptor) {}

  std::unique_lock<std::mutex> guard_;
  int descriptor_;
};

}  // namespace fmaserver::sessions
