// Which rewind point to give up when there are too many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fmaserver::sessions {

struct RewindPoint {
  int64_t tokens = 0;
  bool turn_end = false;
};

/// Index of the point to drop of `points`: ascending counts, two or more; the last is the head and
/// stays. It is the one whose loss leaves the smallest gap for its distance from the head, so that
/// those that remain lie about as far apart as they lie back: 8 of them serve any length. The end
/// of a turn counts kTurnEndWeight times.
size_t PointToDrop(std::span<const RewindPoint> points);

inline constexpr double kTurnEndWeight = 4;

}  // namespace fmaserver::sessions
