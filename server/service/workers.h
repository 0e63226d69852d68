// Threads for work that may block or take long: session files, and texts of many kilobytes.
//
// Neither a door's threads nor the engine's may wait for a disk or a tokenizer.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"

namespace fmaserver::service {

/// Thread-safe. The destructor first runs all tasks that were started.
class Workers {
 public:
  /// `max_waiting_bytes` limits the memory that waiting tasks hold.
  Workers(int threads, int64_t max_waiting_bytes);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// Runs `task`, which holds `bytes`, on one of the threads; tasks begin in the order in which
  /// they came. RESOURCE_EXHAUSTED with kRetryAfterSeconds when too much already waits; `task` is
  /// then dropped. An empty queue takes a task of any size.
  absl::Status Start(std::function<void()> task, int64_t bytes = kSmallBytes);

  /// About what a call without a prompt holds.
  static constexpr int64_t kSmallBytes = 4096;

  /// Runs the next part of work that was started before. It is never refused: there is at most one
  /// for each call under way.
  void Continue(std::function<void()> task);

 private:
  struct Task {
    std::function<void()> run;
    int64_t bytes = 0;
  };

  void Work();

  const int64_t max_waiting_bytes_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Task> tasks_;  // guarded by mutex_, as are the next two
  int64_t waiting_bytes_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace fmaserver::service
