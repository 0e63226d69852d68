#include "server/engine/request_queue.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/retry.h"

namespace fmaserver::engine {

RequestId RequestQueue::NextId() {
  const std::lock_guard lock(mutex_);
  return ++last_id_;
}

absl::Status RequestQueue::Push(std::unique_ptr<Sequence> sequence) {
  {
    const std::lock_guard lock(mutex_);
    if (absl::Status refusal = Refusal(); !refusal.ok()) return refusal;
    waiting_.emplace(KeyOf(*sequence), std::move(sequence));
  }
  work_.notify_one();
  return absl::OkStatus();
}

absl::Status RequestQueue::CheckAdmission() const {
  const std::lock_guard lock(mutex_);
  return Refusal();
}

bool RequestQueue::IsFull() const {
  const std::lock_guard lock(mutex_);
  return Full();
}

/// Needs mutex_, as do the next two.
absl::Status RequestQueue::Refusal() const {
  if (draining_) return absl::UnavailableError("the server is shutting down; try another one");
  return Full() ? WhenFull() : absl::OkStatus();
}

bool RequestQueue::Full() const {
  const int64_t free = num_slots_ - running_;
  return static_cast<int64_t>(waiting_.size()) >= free + max_waiting_;
}

/// The hint is when the queue will have moved up by one, if slots are held as long as they were
/// recently.
absl::Status RequestQueue::WhenFull() const {
  constexpr double kLeastSeconds = 0.1;
  constexpr double kMostSeconds = 60;
  absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat("all ", num_slots_, " slots are taken and ", max_waiting_,
                   " requests wait already; try again later"));
  const double seconds = mean_service_seconds_ / num_slots_;
  status.SetPayload(kRetryAfterSeconds,
                    absl::Cord(absl::StrCat(std::clamp(seconds, kLeastSeconds, kMostSeconds))));
  return status;
}

void RequestQueue::Cancel(RequestId id) {
  {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
  }
  work_.notify_one();
}

void RequestQueue::Wake() {
  // The loop either sees the change when it is about to wait, or is already waiting and is woken.
  { const std::lock_guard lock(mutex_); }
  work_.notify_one();
}

void RequestQueue::Drain(absl::Duration grace) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  const auto none_left = [this] { return NoneLeft(); };
  if (idle_.wait_for(lock, absl::ToChronoNanoseconds(grace), none_left)) return;
  evict_ = true;
  work_.notify_one();
  idle_.wait(lock, none_left);
}

void RequestQueue::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_one();
}

RequestQueue::Counts RequestQueue::Count() const {
  const std::lock_guard lock(mutex_);
  Counts counts{
      .running = running_, .waiting = static_cast<int32_t>(waiting_.size()), .draining = draining_};
  for (const auto& [key, sequence] : waiting_) counts.prompt_tokens += sequence->PromptLeft();
  return counts;
}

RequestQueue::Orders RequestQueue::Await(int32_t running, const std::function<bool()>& can_step) {
  // Readers that are behind must be looked at now and then.
  constexpr std::chrono::seconds kStallCheck(1);
  std::unique_lock lock(mutex_);
  running_ = running;
  loop_idle_ = running == 0;
  if (NoneLeft()) idle_.notify_all();
  const auto has_work = [&] {
    return stop_ || evict_ || !cancelled_.empty() || (!waiting_.empty() && running < num_slots_) ||
           can_step();
  };
  if (running == 0) {
    work_.wait(lock, has_work);
  } else {
    work_.wait_for(lock, kStallCheck, has_work);
  }
  loop_idle_ = false;
  Orders orders{.stop = stop_,
                .evict = std::exchange(evict_, false),
                .cancelled = std::exchange(cancelled_, {})};
  orders.dropped = TakeDropped(orders);
  return orders;
}

/// Needs mutex_.
RequestQueue::Sequences RequestQueue::TakeDropped(const Orders& orders) {
  Sequences dropped;
  if (!orders.evict && orders.cancelled.empty()) return dropped;
  for (auto& [key, sequence] : waiting_) {
    if (orders.evict || std::ranges::count(orders.cancelled, sequence->id()) > 0) {
      dropped.push_back(std::move(sequence));
    }
  }
  std::erase_if(waiting_, [](const auto& item) { return item.second == nullptr; });
  return dropped;
}

void RequestQueue::SetRunning(int32_t running) {
  const std::lock_guard lock(mutex_);
  running_ = running;
}

std::unique_ptr<Sequence> RequestQueue::Pop() {
  const std::lock_guard lock(mutex_);
  if (waiting_.empty()) return nullptr;
  ++running_;
  return std::move(waiting_.extract(waiting_.begin()).mapped());
}

bool RequestQueue::IsNext(const Sequence& sequence) const {
  const std::lock_guard lock(mutex_);
  return waiting_.empty() || KeyOf(sequence) <= waiting_.begin()->first;
}

void RequestQueue::Return(std::unique_ptr<Sequence> fork) {
  const std::lock_guard lock(mutex_);
  waiting_.emplace(KeyOf(*fork), std::move(fork));
}

void RequestQueue::AddServiceTime(double seconds) {
  constexpr double kNewestWeight = 0.1;
  const std::lock_guard lock(mutex_);
  mean_service_seconds_ += kNewestWeight * (seconds - mean_service_seconds_);
}

}  // namespace fmaserver::engine
