// Threads for what may block: reading and writing session files.
//
// Neither gRPC's callback threads nor the engine's may wait for a disk.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace fmaserver::rpc {

/// Thread-safe. Destruction first runs all that was handed in.
class WorkerPool {
 public:
  explicit WorkerPool(int threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// Runs `task` on one of the threads, soon; tasks start in the order in which they are handed in.
  void Run(std::function<void()> task);

 private:
  void Work();

  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_, as is the next
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace fmaserver::rpc
