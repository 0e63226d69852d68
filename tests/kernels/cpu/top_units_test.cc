#include "kernels/cpu/top_units.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fmaserver::kernels::cpu {
namespace {

using ::testing::ElementsAre;

std::vector<int64_t> Best(int64_t count, const std::vector<float>& scores) {
  TopUnits top(count);
  top.Offer(0, 1e9F);
  top.Clear();
  for (size_t unit = 0; unit < scores.size(); ++unit) {
    top.Offer(static_cast<int64_t>(unit), scores[unit]);
  }
  top.Finish();
  std::vector<int64_t> units;
  for (int64_t i = 0; i < top.size(); ++i) units.push_back(top.Unit(i));
  return units;
}

TEST(TopUnits, AreInOrderOfPosition) {
  EXPECT_THAT(Best(3, {5, 1, 2, 9, 7}), ElementsAre(0, 3, 4));
  EXPECT_THAT(Best(8, {5, 1, 2}), ElementsAre(0, 1, 2));
  EXPECT_THAT(Best(1, {}), ElementsAre());
}

TEST(TopUnits, OfEqualsTheEarlier) {
  EXPECT_THAT(Best(2, {1, 3, 3, 3, 3, 3}), ElementsAre(1, 2));
  EXPECT_THAT(Best(1, {0, 0, 0}), ElementsAre(0));
}

TEST(TopUnits, NanCountsLeast) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  EXPECT_THAT(Best(2, {kNan, -5, kNan, kNan, -6, kNan}), ElementsAre(1, 4));
  EXPECT_THAT(Best(2, {kNan, kNan, kNan, kNan, kNan, -kInf, 1}), ElementsAre(0, 6));
  EXPECT_THAT(Best(3, {kNan, 1}), ElementsAre(0, 1));
}

TEST(TopUnits, MayBeOfferedInAnyOrder) {
  TopUnits top(2);
  for (const int64_t unit : {7, 3, 5, 1, 6, 2, 4}) top.Offer(unit, unit == 6 ? 2.0F : 1.0F);
  EXPECT_TRUE(top.MayTake(1.0F));
  EXPECT_FALSE(top.MayTake(0.5F));
  top.Finish();
  ASSERT_EQ(top.size(), 2);
  EXPECT_EQ(top.Unit(0), 1);
  EXPECT_EQ(top.Unit(1), 6);
}

TEST(TopUnits, EqualASortOfAll) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    const auto count = static_cast<int64_t>(1 + random() % 20);
    std::vector<float> scores(random() % 300);
    for (float& score : scores) score = static_cast<float>(random() % 50);
    std::vector<int64_t> order;
    for (size_t i = 0; i < scores.size(); ++i) order.push_back(static_cast<int64_t>(i));
    std::ranges::stable_sort(order, [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
    order.resize(std::min<size_t>(order.size(), count));
    std::ranges::sort(order);
    ASSERT_EQ(Best(count, scores), order);
  }
}

}  // namespace
}  // namespace fmaserver::kernels::cpu
