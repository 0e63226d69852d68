// The lock of a session directory, between threads and between processes.
#pragma once

#include <sys/file.h>

#include <cerrno>
#include <mutex>

#include "server/sessions/session_directory.h"

namespace fmaserver::sessions {

/// Held while it lives.
class SessionDirectory::Lock {
 public:
  explicit Lock(SessionDirectory& directory)
      : guard_(directory.mutex_), descriptor_(directory.lock_file_.descriptor()) {
    while (flock(descriptor_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~Lock() { flock(descriptor_, LOCK_UN); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  const std::lock_guard<std::mutex> guard_;
  const int descriptor_;
};

}  // namespace fmaserver::sessions
