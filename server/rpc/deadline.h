// Whether a call that was cancelled had run out of time: gRPC itself does not say.
#pragma once

#include <chrono>

#include "absl/status/status.h"

namespace fmaserver::rpc {

class Deadline {
 public:
  using Time = std::chrono::system_clock::time_point;

  /// `deadline` of a call that arrived at `start`; Time::max() for none.
  explicit Deadline(Time deadline, Time start = std::chrono::system_clock::now())
      : deadline_(deadline), start_(start) {}

  /// DEADLINE_EXCEEDED, or CANCELLED when the deadline was still far at `now`. The client's clock
  /// started earlier, and the wire rounds its deadline up by as much as a hundredth, so that its
  /// cancellation may come before the deadline that this side knows.
  absl::Status WhyCancelled(Time now = std::chrono::system_clock::now()) const;

 private:
  Time deadline_;
  Time start_;
};

}  // namespace fmaserver::rpc
