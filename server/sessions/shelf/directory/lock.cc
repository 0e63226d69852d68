#include "server/sessions/shelf/directory/lock.h"

#include <sys/file.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "base/text.h"

namespace fmaserver::sessions {

absl::StatusOr<DirectoryLock> DirectoryLock::Take(std::mutex& mutex, const OpenFile& file) {
  std::unique_lock guard(mutex);
  while (flock(file.descriptor(), LOCK_EX) != 0) {
    if (errno == EINTR) continue;
    return absl::UnavailableError(Concat(
        file.path().string(), ": cannot be locked: ", std::generic_category().message(errno)));
  }
  return DirectoryLock(std::move(guard), file.descriptor());
}

DirectoryLock::~DirectoryLock() {
  if (descriptor_ >= 0) flock(descriptor_, LOCK_UN);
}

}  // namespace fmaserver::sessions
