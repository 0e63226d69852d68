// How long the reader of a request has been behind.
#pragma once

#include <optional>

#include "base/clock.h"

namespace fmaserver::engine {

class StallTimer {
 public:
  /// For how many seconds the reader has been behind at `now`, counted from the first call that
  /// found it behind; 0 while it keeps up.
  double Check(bool keeps_up, Clock::time_point now) {
    if (keeps_up) {
      behind_since_.reset();
      return 0;
    }
    if (!behind_since_) behind_since_ = now;
    return SecondsBetween(*behind_since_, now);
  }

 private:
  std::optional<Clock::time_point> behind_since_;
};

}  // namespace fmaserver::engine
