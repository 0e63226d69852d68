// A door without a transport: it takes the events of one call and reports its writes.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/service/outbox.h"

namespace fmaserver::testing {

/// Made by std::make_shared and given to the call as its wire. Checks that each write is reported
/// before the next write or the end.
template <class Event>
class FakeDoor final : public service::EventWire<Event> {
 public:
  bool Write(const Event& event) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(writing_) << "two writes in flight";
    EXPECT_FALSE(end_.has_value()) << "a write after the end";
    events_.push_back(event);
    writing_ = true;
    changed_.notify_all();
    return true;
  }

  void Finish(const absl::Status& status) override {
    if (at_end) at_end();
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(writing_) << "the end during a write";
    EXPECT_FALSE(end_.has_value()) << "two ends";
    end_ = status;
    changed_.notify_all();
  }

  /// Reports writes, each after `write_time`, until `call` is over; after `cancel_after` writes, if
  /// given, the reader leaves.
  template <class StreamedCall>
  absl::Status Run(StreamedCall& call,
                   std::chrono::microseconds write_time = std::chrono::microseconds(0),
                   std::optional<int> cancel_after = std::nullopt) {
    bool cancelled = false;
    for (int writes = 0;; ++writes) {
      if (!cancelled && cancel_after == writes) {
        cancelled = true;
        call.OnCancel(absl::CancelledError("the reader left"));
      }
      if (AwaitChange()) return *end_;
      if (write_time.count() > 0) std::this_thread::sleep_for(write_time);
      call.OnWritten(cancelled ? absl::CancelledError("the reader left") : absl::OkStatus());
    }
  }

  /// The events of a call that is over.
  const std::vector<Event>& events() const { return events_; }

  /// Called right before the end is recorded.
  std::function<void()> at_end;

 private:
  /// Waits for a write, which must then be reported, or for the end, which returns true.
  bool AwaitChange() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return writing_ || end_.has_value(); });
    return !std::exchange(writing_, false);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Event> events_;
  bool writing_ = false;
  std::optional<absl::Status> end_;
};

}  // namespace fmaserver::testing
