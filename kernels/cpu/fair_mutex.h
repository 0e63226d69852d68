// A mutex that threads get in the order in which they asked for it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace fmaserver::kernels {

/// Lockable. A thread that unlocks it and locks it again at once waits behind the threads that
/// already wait; std::mutex could let it pass them for ever.
class FairMutex {
 public:
  void lock() {
    std::unique_lock lock(mutex_);
    const uint64_t ticket = next_++;
    changed_.wait(lock, [&] { return serving_ == ticket; });
  }

  void unlock() {
    {
      const std::lock_guard lock(mutex_);
      ++serving_;
    }
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t next_ = 0;     // guarded by mutex_, as is the next
  uint64_t serving_ = 0;  // whose turn it is
};

}  // namespace fmaserver::kernels
