// When the stages of one request's life began.
#pragma once

#include <optional>

#include "base/clock.h"
#include "server/engine/request.h"

namespace fmaserver::engine {

class RequestTimes {
 public:
  explicit RequestTimes(Clock::time_point arrival) : arrival_(arrival) {}

  Clock::time_point arrival() const { return arrival_; }
  /// Only after Start().
  Clock::time_point started() const { return *started_; }

  /// The request got a slot.
  void Start(Clock::time_point now) { started_ = now; }

  /// A token was chosen. Returns the seconds since the token before it; nothing for the first.
  std::optional<double> Token(Clock::time_point now) {
    std::optional<double> gap;
    if (last_token_) gap = SecondsBetween(*last_token_, now);
    if (!first_token_) first_token_ = now;
    last_token_ = now;
    return gap;
  }

  /// Sets the times of `usage` as they are at `now`.
  void FillIn(Usage& usage, Clock::time_point now) const {
    usage.arrival = arrival_;
    usage.queue_seconds = SecondsBetween(arrival_, started_.value_or(now));
    if (!started_) return;
    const Clock::time_point first_token = first_token_.value_or(now);
    usage.prefill_seconds = SecondsBetween(*started_, first_token);
    usage.decode_seconds = SecondsBetween(first_token, now);
  }

 private:
  const Clock::time_point arrival_;
  std::optional<Clock::time_point> started_;
  std::optional<Clock::time_point> first_token_;
  std::optional<Clock::time_point> last_token_;
};

}  // namespace fmaserver::engine
