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

/// Index of the point to drop. `points` are two or more, with ascending counts; the last is the
/// head and always stays. The point to drop is the one whose loss leaves the smallest gap relative
/// to its distance from the head, so that gaps between the remaining points grow with that
/// distance, and 8 of them serve any length. The end of a turn weighs kTurnEndWeight times as much.
size_t PointToDrop(std::span<const RewindPoint> points);

inline constexpr double kTurnEndWeight = 4;

}  // namespace fmaserver::sessions
