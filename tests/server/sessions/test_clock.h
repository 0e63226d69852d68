// A clock that the test moves.
#pragma once

#include <chrono>

#include "base/clock.h"

namespace fmaserver::testing {

class TestClock {
 public:
  /// A Now that shows the time of this clock, which must outlive it.
  Now now() {
    return [this] { return time_; };
  }

  void Advance(double seconds) {
    time_ += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  }

 private:
  Clock::time_point time_ = Clock::time_point() + std::chrono::hours(1);
};

}  // namespace fmaserver::testing
