#include "kernels/cpu/thread_pool.h"

#include <chrono>
#include <iterator>

#include "hwy/cache_control.h"

namespace fmaserver::kernels {
namespace {

constexpr auto kSpin = std::chrono::microseconds(30);
constexpr int kPausesPerYield = 64;
constexpr uint64_t kRegion = uint64_t{1} << 32;  // adds one to the region's number
constexpr uint64_t kIndices = kRegion - 1;

}  // namespace

void ThreadPool::Pause() {
  for (int i = 0; i < kPausesPerYield; ++i) hwy::Pause();
  std::this_thread::yield();
}

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
  unfinished_.store(count, std::memory_order_relaxed);
  // Sequentially consistent with sleepers_: either a sleeper sees the region, or it is seen here.
  // The region's number only has to differ from those that a worker may still hold.
  const uint64_t region = (untaken_.load() & ~kIndices) + kRegion;
  untaken_.store(region | static_cast<uint64_t>(count));
  if (sleepers_.load() > 0) WakeWorkers(count - 1);
  RunRegion(0);
  for (int spins = 0; unfinished_.load(std::memory_order_acquire) > 0; ++spins) {
    spins < kPausesPerYield ? hwy::Pause() : Pause();
  }
}

void ThreadPool::WakeWorkers(int64_t wanted) {
  const std::lock_guard lock(mutex_);
  if (wanted >= std::ssize(workers_)) return wake_.notify_all();
  for (; wanted > 0; --wanted) wake_.notify_one();
}

/// Takes indices until none is left. A worker that holds an index keeps the region from ending, so
/// body_ and count_ stay valid.
void ThreadPool::RunRegion(int worker) {
  uint64_t untaken = untaken_.load();
  while ((untaken & kIndices) > 0) {
    if (!untaken_.compare_exchange_weak(untaken, untaken - 1)) continue;
    (*body_)(count_ - static_cast<int64_t>(untaken & kIndices), worker);
    unfinished_.fetch_sub(1, std::memory_order_release);
    untaken = untaken_.load();
  }
}

bool ThreadPool::HasWork() const { return (untaken_.load() & kIndices) > 0; }

/// False: stop.
bool ThreadPool::AwaitRegion() {
  const auto give_up = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPausesPerYield; ++i) {
      if (HasWork()) return true;
      hwy::Pause();
    }
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < give_up);

  std::unique_lock lock(mutex_);
  sleepers_.fetch_add(1);
  wake_.wait(lock, [&] { return stop_ || HasWork(); });
  sleepers_.fetch_sub(1);
  return !stop_;
}

void ThreadPool::Work(int worker) {
  while (AwaitRegion()) RunRegion(worker);
}

}  // namespace fmaserver::kernels
