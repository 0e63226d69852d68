// Requests on their way to the engine's thread, and what other threads want of it.
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
#include "server/engine/sequence.h"

namespace fmaserver::engine {

/// One thread, the loop, serves what the others submit. The most urgent priority comes first, and
/// within one what arrived first.
class RequestQueue {
 public:
  using Sequences = std::vector<std::unique_ptr<Sequence>>;

  /// `num_slots` sequences run at once; `max_waiting` may wait besides those that find a free slot.
  RequestQueue(int32_t num_slots, int32_t max_waiting)
      : num_slots_(num_slots), max_waiting_(max_waiting) {}

  // Any thread.

  RequestId NextId();

  /// RESOURCE_EXHAUSTED, with kRetryAfterSeconds, when too many wait; UNAVAILABLE after Drain().
  absl::Status Push(std::unique_ptr<Sequence> sequence);

  /// What Push would say now.
  absl::Status CheckAdmission() const;

  /// Whether too many wait for one more.
  bool IsFull() const;

  /// The loop is to end this request, wherever it is by then.
  void Cancel(RequestId id);

  /// What the loop waits for may have changed.
  void Wake();

  /// Refuses new requests, waits up to `grace` for those that are there, then has the loop end the
  /// rest. Returns when none is left.
  void Drain(absl::Duration grace);

  /// The loop is to end. After Drain().
  void Stop();

  struct Counts {
    int32_t running = 0;  ///< sequences that hold a slot
    int32_t waiting = 0;
    int64_t prompt_tokens = 0;  ///< of those that wait, not read yet
    bool draining = false;
  };
  Counts Count() const;

  // The loop's thread.

  struct Orders {
    bool stop = false;
    bool evict = false;                ///< to end all that runs
    std::vector<RequestId> cancelled;  ///< to end these
    Sequences dropped = {};            ///< those of them that waited: no longer in the queue
  };

  /// Waits until there are orders, or a request and a slot for it, or `can_step` is true; with
  /// something running for a second at most. `running` sequences hold a slot.
  Orders Await(int32_t running, const std::function<bool()>& can_step);

  /// How many hold a slot now.
  void SetRunning(int32_t running);

  /// The next one, which now counts as running; null: none waits.
  std::unique_ptr<Sequence> Pop();

  /// Whether nobody waits who comes before `sequence` and what forks from it.
  bool IsNext(const Sequence& sequence) const;

  /// A fork without a slot waits its turn; it belongs to a request that was taken in already, so it
  /// is never refused.
  void Return(std::unique_ptr<Sequence> fork);

  /// A sequence held its slot for so long. Tells how soon a refused caller should come again.
  void AddServiceTime(double seconds);

 private:
  using Key = std::pair<int32_t, RequestId>;
  static Key KeyOf(const Sequence& sequence) { return {sequence.priority(), sequence.id()}; }

  bool NoneLeft() const { return loop_idle_ && waiting_.empty(); }
  absl::Status Refusal() const;
  bool Full() const;
  absl::Status WhenFull() const;
  Sequences TakeDropped(const Orders& orders);

  const int32_t num_slots_;
  const int32_t max_waiting_;

  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable idle_;
  std::multimap<Key, std::unique_ptr<Sequence>> waiting_;  // guarded by mutex_, as are all below
  std::vector<RequestId> cancelled_;
  RequestId last_id_ = 0;
  int32_t running_ = 0;
  double mean_service_seconds_ = 1;  // of recent sequences
  bool loop_idle_ = false;           // it waits, and nothing runs
  bool draining_ = false;
  bool evict_ = false;
  bool stop_ = false;
};

}  // namespace fmaserver::engine
