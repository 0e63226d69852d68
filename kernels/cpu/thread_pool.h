// A fork-join pool for the short parallel regions of one step.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace fmaserver::kernels {

/// Has `threads` workers; the calling thread is worker 0. ParallelFor is called from one thread at
/// a time. Between regions, workers look for work for some microseconds before they sleep: a decode
/// step is dozens of regions of a few microseconds each, shorter than a wake-up. A waiting worker
/// yields its core to other threads that need it, and a region never waits for a worker that has
/// none of its indices, so more threads than free cores cost little.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// One round of a loop that waits for another thread, which may need this core.
  static void Pause();

  /// Calls body(index, worker) for every index in [0, count), in any order, and returns when all
  /// are done; count < 2^32. worker is in [0, threads()): an index into per-thread scratch.
  void ParallelFor(int64_t count, absl::FunctionRef<void(int64_t index, int worker)> body);

 private:
  void Work(int worker);
  void RunRegion(int worker);
  bool AwaitRegion();
  bool HasWork() const;
  void WakeWorkers(int64_t wanted);

  const absl::FunctionRef<void(int64_t, int)>* body_ = nullptr;
  int64_t count_ = 0;
  /// The upper half is the region's number, the lower half how many of its indices nobody has
  /// taken. They are one word, so that a late worker cannot take an index of a region that it does
  /// not know.
  std::atomic<uint64_t> untaken_{0};
  std::atomic<int64_t> unfinished_{0};  // indices of the region that are not done
  std::atomic<bool> stop_{false};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace fmaserver::kernels
