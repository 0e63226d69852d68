// Which tokens are chosen, checked by hand.
#include "kernels/cpu/selection.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fmaserver::kernels::cpu {
namespace {

using ::testing::ElementsAre;

std::vector<int32_t> Choose(const std::vector<double>& received, const std::vector<float>& novelty,
                            int64_t asked_for, int64_t novel) {
  std::vector<int32_t> chosen;
  ChooseTokens(received, novelty, asked_for, novel, chosen);
  return chosen;
}

TEST(ChooseTokens, TakesTheMostAskedForThenTheMostNovelOfTheRest) {
  EXPECT_THAT(Choose({5, 1, 9, 2, 3}, {0, 7, 100, 8, 9}, 1, 1), ElementsAre(2, 4));
  EXPECT_THAT(Choose({5, 1, 9, 2, 3}, {}, 2, 0), ElementsAre(0, 2));
  EXPECT_THAT(Choose({5, 1, 9, 2, 3}, {0, 7, 100, 8, 9}, 0, 2), ElementsAre(2, 4));
  EXPECT_THAT(Choose({5, 1, 9}, {1, 2, 3}, 2, 1), ElementsAre(0, 1, 2));
}

TEST(ChooseTokens, OfEqualsTheEarlier) {
  EXPECT_THAT(Choose({0, 0, 0, 0}, {2, 1, 2, 2}, 1, 2), ElementsAre(0, 2, 3));
  EXPECT_THAT(Choose({1, 3, 3, 3}, {0, 0, 0, 0}, 2, 1), ElementsAre(0, 1, 2));
}

TEST(ChooseTokens, NanIsTheLeast) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(Choose({nan, 0, nan, -1}, {}, 2, 0), ElementsAre(1, 3));
  EXPECT_THAT(Choose({nan, nan, nan, nan}, {NAN, NAN, 1, NAN}, 1, 2), ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace fmaserver::kernels::cpu
