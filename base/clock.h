// Time that passes: the monotonic clock, as an argument where a test must move it.
#pragma once

#include <chrono>
#include <functional>

namespace fmaserver {

using Clock = std::chrono::steady_clock;

/// What time it is. The default is the real clock; a test hands in one that it moves itself, so
/// that no test sleeps for a time to live.
using Now = std::function<Clock::time_point()>;

inline double SecondsBetween(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

inline double SecondsSince(Clock::time_point from) { return SecondsBetween(from, Clock::now()); }

}  // namespace fmaserver
