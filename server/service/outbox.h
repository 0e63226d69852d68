// The events of a stream that its reader has not taken yet.
//
// The engine's thread sends, the door's threads report writes; one mutex guards the state, and
// nothing is called while it is held. At most one write is in flight; meanwhile events wait and are
// merged where their kind allows it, and while too much waits the engine pauses the request.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/status.h"

namespace fmaserver::service {

/// Where the events of a stream go: what a door implements. Neither function waits for the reader.
template <class Event>
class EventWire {
 public:
  virtual ~EventWire() = default;
  /// Begins to write, and tells the stream's call when the write is over; not called again before
  /// that. False: there is nothing to write for this event, and nothing to tell.
  virtual bool Write(const Event& event) = 0;
  /// The end, once, never during a write.
  virtual void Finish(const absl::Status& status) = 0;
};

/// Thread-safe. `BytesOf(event)` estimates an event's size; `Merge(last, next)` moves `next` into
/// the waiting `last` if a reader loses nothing by it. Both are found beside Event.
template <class Event>
class Outbox {
 public:
  /// Waiting events are merged up to this size, well below the 4 MiB that gRPC's clients accept.
  static constexpr size_t kMaxMergedBytes = size_t{256} << 10;
  /// When this much waits for a slow reader, there is no room.
  static constexpr size_t kMaxWaitingBytes = size_t{1} << 20;

  /// Holds `wire` to its own end.
  explicit Outbox(std::shared_ptr<EventWire<Event>> wire) : wire_(std::move(wire)) {}

  /// Ignored after Close or Abandon.
  void Send(Event event) {
    std::unique_lock lock(mutex_);
    if (end_.has_value()) return;
    Enqueue(std::move(event));
    Pump(std::move(lock));
  }

  /// Takes no lock: the engine asks at every step.
  bool IsFull() const { return waiting_bytes_ >= kMaxWaitingBytes; }

  bool closed() const {
    const std::lock_guard lock(mutex_);
    return end_.has_value();
  }

  /// Ends the stream with `status` after what was sent. False if it had already been ended.
  bool Close(const absl::Status& status) { return End(status, /*drop=*/false); }

  /// The same, but drops what waits, even if the stream was closed before.
  bool Abandon(const absl::Status& status) { return End(status, /*drop=*/true); }

  /// The write is over. Returns whether it was full before and is not now.
  bool Written() {
    std::unique_lock lock(mutex_);
    state_ = State::kIdle;
    const bool was_full = IsFull();
    Pump(std::move(lock));
    return was_full && !IsFull();
  }

 private:
  enum class State { kIdle, kWriting, kFinished };
  struct Waiting {
    Event event;
    size_t bytes = 0;
  };

  bool End(const absl::Status& status, bool drop) {
    std::unique_lock lock(mutex_);
    const bool first = !end_.has_value();
    if (first) end_ = status;
    if (drop) {
      waiting_.clear();
      waiting_bytes_ = 0;
    }
    Pump(std::move(lock));
    return first;
  }

  // Needs mutex_.
  void Enqueue(Event event) {
    const size_t bytes = BytesOf(event);
    waiting_bytes_ += bytes;
    if (!waiting_.empty() && waiting_.back().bytes + bytes <= kMaxMergedBytes &&
        Merge(waiting_.back().event, event)) {
      waiting_.back().bytes += bytes;
    } else {
      waiting_.push_back({std::move(event), bytes});
    }
  }

  /// Starts the next write or the end, after `lock` is released: the state keeps others away.
  void Pump(std::unique_lock<std::mutex> lock) {
    if (state_ != State::kIdle) return;
    while (!waiting_.empty()) {
      state_ = State::kWriting;
      const Waiting next = std::move(waiting_.front());
      waiting_.pop_front();
      waiting_bytes_ -= next.bytes;
      lock.unlock();
      if (wire_->Write(next.event)) return;
      lock.lock();
      state_ = State::kIdle;
    }
    if (end_.has_value()) {
      state_ = State::kFinished;
      lock.unlock();
      wire_->Finish(*end_);  // set once, so nobody writes it now
    }
  }

  const std::shared_ptr<EventWire<Event>> wire_;
  mutable std::mutex mutex_;
  State state_ = State::kIdle;
  std::optional<absl::Status> end_;  // the last word: no more events
  std::deque<Waiting> waiting_;
  std::atomic<size_t> waiting_bytes_ = 0;  // written under mutex_
};

}  // namespace fmaserver::service
