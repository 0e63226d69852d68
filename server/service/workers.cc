#include "server/service/workers.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/retry.h"

namespace fmaserver::service {
namespace {

absl::Status TooMuchWaits() {
  constexpr double kRetrySeconds = 1;
  absl::Status status =
      absl::ResourceExhaustedError("too many requests wait to be read already; try again later");
  status.SetPayload(kRetryAfterSeconds, absl::Cord(absl::StrCat(kRetrySeconds)));
  return status;
}

}  // namespace

Workers::Workers(int threads, int64_t max_waiting_bytes) : max_waiting_bytes_(max_waiting_bytes) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

absl::Status Workers::Start(std::function<void()> task, int64_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    if (!tasks_.empty() && bytes > max_waiting_bytes_ - waiting_bytes_) return TooMuchWaits();
    tasks_.push_back({std::move(task), bytes});
    waiting_bytes_ += bytes;
  }
  work_.notify_one();
  return absl::OkStatus();
}

void Workers::Continue(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back({std::move(task), 0});
  }
  work_.notify_one();
}

void Workers::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    {
      // The task may hold the last reference to a call, whose destructor takes locks of other
      // rooms, so it must be destroyed before the queue is locked again.
      const Task task = std::move(tasks_.front());
      tasks_.pop_front();
      waiting_bytes_ -= task.bytes;
      lock.unlock();
      task.run();
    }
    lock.lock();
  }
}

}  // namespace fmaserver::service
