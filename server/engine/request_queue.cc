#include "server/engine/request_queue.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/retry.h"

namespace fmaserver::engine {

template <class Item>
RequestId QueueOf<Item>::NextId() {
  const std::lock_guard lock(mutex_);
  return ++last_id_;
}

template <class Item>
absl::Status QueueOf<Item>::Push(std::unique_ptr<Item> item) {
  {
    const std::lock_guard lock(mutex_);
    if (absl::Status refusal = Refusal(); !refusal.ok()) return refusal;
    waiting_.emplace(KeyOf(*item), std::move(item));
  }
  work_.notify_one();
  return absl::OkStatus();
}

template <class Item>
absl::Status QueueOf<Item>::CheckAdmission() const {
  const std::lock_guard lock(mutex_);
  return Refusal();
}

template <class Item>
bool QueueOf<Item>::IsFull() const {
  const std::lock_guard lock(mutex_);
  return Full();
}

/// Needs mutex_, as do the next two.
template <class Item>
absl::Status QueueOf<Item>::Refusal() const {
  if (draining_) return absl::UnavailableError("the server is shutting down; try another one");
  return Full() ? WhenFull() : absl::OkStatus();
}

template <class Item>
bool QueueOf<Item>::Full() const {
  const int64_t free = num_slots_ - running_;
  return static_cast<int64_t>(waiting_.size()) >= free + max_waiting_;
}

/// The hint is when the queue will have moved up by one, if slots are held as long as they were
/// recently.
template <class Item>
absl::Status QueueOf<Item>::WhenFull() const {
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

template <class Item>
void QueueOf<Item>::Cancel(RequestId id) {
  {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
  }
  work_.notify_one();
}

template <class Item>
void QueueOf<Item>::Wake() {
  // The loop either sees the change when it is about to wait, or is already waiting and is woken.
  { const std::lock_guard lock(mutex_); }
  work_.notify_one();
}

template <class Item>
void QueueOf<Item>::Drain(absl::Duration grace) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  const auto none_left = [this] { return NoneLeft(); };
  if (idle_.wait_for(lock, absl::ToChronoNanoseconds(grace), none_left)) return;
  evict_ = true;
  work_.notify_one();
  idle_.wait(lock, none_left);
}

template <class Item>
void QueueOf<Item>::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_one();
}

template <class Item>
typename QueueOf<Item>::Counts QueueOf<Item>::Count() const {
  const std::lock_guard lock(mutex_);
  Counts counts{
      .running = running_, .waiting = static_cast<int32_t>(waiting_.size()), .draining = draining_};
  for (const auto& [key, item] : waiting_) counts.prompt_tokens += item->PromptLeft();
  return counts;
}

template <class Item>
typename QueueOf<Item>::Orders QueueOf<Item>::Await(int32_t running,
                                                    const std::function<bool()>& can_step) {
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
template <class Item>
typename QueueOf<Item>::Items QueueOf<Item>::TakeDropped(const Orders& orders) {
  Items dropped;
  if (!orders.evict && orders.cancelled.empty()) return dropped;
  for (auto& [key, item] : waiting_) {
    if (orders.evict || std::ranges::count(orders.cancelled, item->id()) > 0) {
      dropped.push_back(std::move(item));
    }
  }
  std::erase_if(waiting_, [](const auto& entry) { return entry.second == nullptr; });
  return dropped;
}

template <class Item>
void QueueOf<Item>::SetRunning(int32_t running) {
  const std::lock_guard lock(mutex_);
  running_ = running;
}

template <class Item>
std::unique_ptr<Item> QueueOf<Item>::Pop() {
  const std::lock_guard lock(mutex_);
  if (waiting_.empty()) return nullptr;
  ++running_;
  return std::move(waiting_.extract(waiting_.begin()).mapped());
}

template <class Item>
bool QueueOf<Item>::IsNext(const Item& item) const {
  const std::lock_guard lock(mutex_);
  return waiting_.empty() || KeyOf(item) <= waiting_.begin()->first;
}

template <class Item>
void QueueOf<Item>::Return(std::unique_ptr<Item> fork) {
  const std::lock_guard lock(mutex_);
  waiting_.emplace(KeyOf(*fork), std::move(fork));
}

template <class Item>
void QueueOf<Item>::AddServiceTime(double seconds) {
  constexpr double kNewestWeight = 0.1;
  const std::lock_guard lock(mutex_);
  mean_service_seconds_ += kNewestWeight * (seconds - mean_service_seconds_);
}

template class QueueOf<Sequence>;
template class QueueOf<EncodeJob>;

Rejection WhyRejected(const absl::Status& refusal) {
  if (absl::IsResourceExhausted(refusal)) return Rejection::kQueueFull;
  return absl::IsUnavailable(refusal) ? Rejection::kDraining : Rejection::kInvalid;
}

}  // namespace fmaserver::engine
