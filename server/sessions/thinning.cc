#include "server/sessions/thinning.h"

#include <limits>

namespace fmaserver::sessions {

size_t PointToDrop(std::span<const RewindPoint> points) {
  const int64_t head = points.back().tokens;
  size_t cheapest = 0;
  double least = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i + 1 < points.size(); ++i) {
    const int64_t before = i == 0 ? 0 : points[i - 1].tokens;
    const double gap = static_cast<double>(points[i + 1].tokens - before);
    const double loss = gap / static_cast<double>(head - points[i].tokens) *
                        (points[i].turn_end ? kTurnEndWeight : 1);
    if (loss < least) {
      least = loss;
      cheapest = i;
    }
  }
  return cheapest;
}

}  // namespace fmaserver::sessions
