#include "kernels/cpu/thread_pool.h"

#include <chrono>

#include "hwy/cache_control.h"

namespace fmaserver::kernels {
namespace {

constexpr auto kSpin = std::chrono::microseconds(30);
constexpr int kPausesPerClock = 64;
constexpr int kSpinsBeforeYield = 2000;

}  // namespace

ThreadPool::ThreadPool(int threads) {
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { Work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ParallelFor(int64_t count, absl::FunctionRef<void(int64_t, int)> body) {
  if (workers_.empty() || count <= 1) {
    for (int64_t i = 0; i < count; ++i) body(i, 0);
    return;
  }
  body_ = &body;
  count_ = count;
  next_.store(0, std::memory_order_relaxed);
  running_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  region_.fetch_add(1);  // sequentially consistent with sleepers_: a sleeper sees it or is seen
  if (sleepers_.load() > 0) {
    std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  RunRegion(0);
  for (int spins = 0; running_.load(std::memory_order_acquire) > 0; ++spins) {
    // A worker that lost its core must be able to get it back.
    spins < kSpinsBeforeYield ? hwy::Pause() : std::this_thread::yield();
  }
}

void ThreadPool::RunRegion(int worker) {
  for (;;) {
    const int64_t index = next_.fetch_add(1, std::memory_order_relaxed);
    if (index >= count_) return;
    (*body_)(index, worker);
  }
}

bool ThreadPool::AwaitRegion(uint64_t seen) {
  const auto give_up = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPausesPerClock; ++i) {
      if (region_.load(std::memory_order_acquire) != seen) return true;
      hwy::Pause();
    }
  } while (std::chrono::steady_clock::now() < give_up);

  std::unique_lock lock(mutex_);
  sleepers_.fetch_add(1);
  wake_.wait(lock, [&] { return stop_ || region_.load() != seen; });
  sleepers_.fetch_sub(1);
  return region_.load() != seen;
}

void ThreadPool::Work(int worker) {
  uint64_t seen = 0;
  while (AwaitRegion(seen)) {
    ++seen;
    RunRegion(worker);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace fmaserver::kernels
