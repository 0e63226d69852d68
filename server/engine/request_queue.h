// Requests on their way to the engine's thread, and the orders that other threads give it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/engine/encode_job.h"
#include "server/engine/observer.h"
#include "server/engine/sequence.h"

namespace fmaserver::engine {

/// One thread, an engine's loop, serves what the others submit: items that have an id, a priority
/// and PromptLeft(). The most urgent priority comes first; within one priority, the request that
/// arrived first.
template <class Item>
class QueueOf {
 public:
  using Items = std::vector<std::unique_ptr<Item>>;

  /// `num_slots` items run at once; `max_waiting` may wait besides those that find a free slot.
  QueueOf(int32_t num_slots, int32_t max_waiting)
      : num_slots_(num_slots), max_waiting_(max_waiting) {}

  // Any thread.

  RequestId NextId();

  /// RESOURCE_EXHAUSTED, with kRetryAfterSeconds, when too many wait; UNAVAILABLE after Drain().
  absl::Status Push(std::unique_ptr<Item> item);

  /// What Push would return now.
  absl::Status CheckAdmission() const;

  /// Whether so many wait that the next request would be refused.
  bool IsFull() const;

  /// Orders the loop to end this request, whether it waits or runs by then.
  void Cancel(RequestId id);

  /// Says that what the loop waits for may have changed.
  void Wake();

  /// Refuses new requests, waits up to `grace` for those that were taken, then orders the loop to
  /// end the rest. Returns when none is left.
  void Drain(absl::Duration grace);

  /// Orders the loop to end. Called after Drain().
  void Stop();

  struct Counts {
    int32_t running = 0;  ///< sequences that hold a slot
    int32_t waiting = 0;
    int64_t prompt_tokens = 0;  ///< of those that wait
    bool draining = false;
  };
  Counts Count() const;

  // The loop's thread.

  struct Orders {
    bool stop = false;
    bool evict = false;                ///< end everything that runs or waits
    std::vector<RequestId> cancelled;  ///< end these
    Items dropped = {};                ///< those to end that waited; they have left the queue
  };

  /// Waits until there are orders, or a request and a slot for it, or `can_step` is true; while
  /// something runs, for one second at most. `running` sequences hold a slot.
  Orders Await(int32_t running, const std::function<bool()>& can_step);

  /// Says how many sequences hold a slot now.
  void SetRunning(int32_t running);

  /// The next sequence, which counts as running from now on; null when none waits.
  std::unique_ptr<Item> Pop();

  /// Whether no waiting sequence comes before `item` and its forks.
  bool IsNext(const Item& item) const;

  /// Puts a fork without a slot into the queue. It belongs to a request that was already taken, so
  /// it is never refused.
  void Return(std::unique_ptr<Item> fork);

  /// Says how long a sequence held its slot, which decides how soon a refused caller should come
  /// again.
  void AddServiceTime(double seconds);

 private:
  using Key = std::pair<int32_t, RequestId>;
  static Key KeyOf(const Item& item) { return {item.priority(), item.id()}; }

  bool NoneLeft() const { return loop_idle_ && waiting_.empty(); }
  absl::Status Refusal() const;
  bool Full() const;
  absl::Status WhenFull() const;
  Items TakeDropped(const Orders& orders);

  const int32_t num_slots_;
  const int32_t max_waiting_;

  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable idle_;
  std::multimap<Key, std::unique_ptr<Item>> waiting_;  // guarded by mutex_, as are all below
  std::vector<RequestId> cancelled_;
  RequestId last_id_ = 0;
  int32_t running_ = 0;
  double mean_service_seconds_ = 1;  // of recent sequences
  bool loop_idle_ = false;           // the loop waits, and nothing runs
  bool draining_ = false;
  bool evict_ = false;
  bool stop_ = false;
};

/// Of decoders, and of encoders, whose slots cost nothing.
using RequestQueue = QueueOf<Sequence>;
using EncodeQueue = QueueOf<EncodeJob>;

/// Why the queue, or a check before it, refused a request.
Rejection WhyRejected(const absl::Status& refusal);

}  // namespace fmaserver::engine
