#include "server/sessions/thinning.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::sessions {
namespace {

// Appends a new head, and keeps at most `limit` points behind it.
void Append(std::vector<RewindPoint>& points, RewindPoint next, size_t limit) {
  points.push_back(next);
  while (points.size() > limit + 1) {
    const size_t dropped = PointToDrop(points);
    ASSERT_LT(dropped, points.size() - 1) << "the head stays";
    points.erase(points.begin() + static_cast<ptrdiff_t>(dropped));
  }
}

// A rewind by any distance goes back at most this many times too far.
double WorstRatio(const std::vector<RewindPoint>& points, int64_t shortest_turn) {
  const int64_t head = points.back().tokens;
  double worst = 1;
  for (size_t i = 0; i + 1 < points.size(); ++i) {
    // This point is the worst answer for a position just before the next point.
    const auto wanted = static_cast<double>(head - points[i + 1].tokens + shortest_turn);
    worst = std::max(worst, static_cast<double>(head - points[i].tokens) / wanted);
  }
  return worst;
}

TEST(ThinningTest, DistancesGrowGeometrically) {
  std::mt19937_64 random(3);
  for (const size_t limit : {4, 8, 16}) {
    for (int round = 0; round < 20; ++round) {
      std::vector<RewindPoint> points;
      int64_t tokens = 0;
      for (int turn = 0; turn < 2'000; ++turn) {
        tokens += 50 + static_cast<int64_t>(random() % 100);
        Append(points, {tokens, true}, limit);
        ASSERT_TRUE(std::ranges::is_sorted(points, {}, &RewindPoint::tokens));
      }
      // 200,000 tokens behind, in steps of 100: with equal ratios each would be the limit-th root.
      const double equal = std::pow(2'000.0, 1.0 / static_cast<double>(limit));
      EXPECT_LT(WorstRatio(points, 50), 2.5 * equal) << limit;
      EXPECT_EQ(points.size(), limit + 1);
    }
  }
}

TEST(ThinningTest, EndsOfTurnsStayLonger) {
  // Every fourth point is the end of a turn.
  std::vector<RewindPoint> points;
  for (int i = 1; i <= 400; ++i) Append(points, {i * 10, i % 4 == 0}, 8);
  const auto ends = std::ranges::count_if(points, [](const RewindPoint& p) { return p.turn_end; });
  EXPECT_GE(ends, 6);
}

TEST(ThinningTest, TwoPointsLeaveOneChoice) {
  const std::vector<RewindPoint> points = {{1, true}, {2, true}};
  EXPECT_EQ(PointToDrop(points), 0);
}

}  // namespace
}  // namespace fmaserver::sessions
