// Which tokens are chosen: plain arithmetic, checked by hand and by its own definition.
#include "kernels/host/selection.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fmaserver::kernels {
namespace {

using ::testing::Each;
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

std::vector<float> NoveltyOf(std::vector<double> keys, int64_t dim) {
  std::vector<double> spread(dim * dim);
  std::vector<float> novelty(keys.size() / dim);
  FindNovelty(keys, dim, spread, novelty);
  return novelty;
}

std::vector<double> RandomKeys(int64_t count, std::mt19937& random) {
  std::normal_distribution<double> normal(0.5, 1.0);
  std::vector<double> keys(count);
  for (double& x : keys) x = normal(random);
  return keys;
}

float InSteps(double novelty) { return static_cast<float>(std::nearbyint(novelty * 1024) / 1024); }

/// One channel: x^2 / (1.1 mu) with mu the mean of x^2.
TEST(FindNovelty, IsTheLeverage) {
  EXPECT_THAT(NoveltyOf({1, 3, 5}, 1), ElementsAre(InSteps(1.5 / 1.1), 0, InSteps(1.5 / 1.1)));
  // Two channels that do not meet, variances 8/3 and 2, mu 7/3: x^2 / (variance + mu / 10), summed.
  const double first = 4 / (8.0 / 3 + 7.0 / 30) + 1 / (2 + 7.0 / 30);
  const double second = 4 / (2 + 7.0 / 30);
  EXPECT_THAT(NoveltyOf({-2, 1, 0, -2, 2, 1}, 2),
              ElementsAre(InSteps(first), InSteps(second), InSteps(first)));
}

TEST(FindNovelty, TurningAllKeysChangesNothing) {
  std::mt19937 random(1);
  const std::vector<double> keys = RandomKeys(12 * 2, random);
  std::vector<double> turned = keys;
  for (size_t i = 0; i < keys.size(); i += 2) {
    turned[i] = keys[i] * 0.6 - keys[i + 1] * 0.8;
    turned[i + 1] = keys[i + 1] * 0.6 + keys[i] * 0.8;
  }
  EXPECT_EQ(NoveltyOf(keys, 2), NoveltyOf(turned, 2));
}

TEST(FindNovelty, EqualKeysAreEquals) {
  std::mt19937 random(2);
  std::vector<double> keys = RandomKeys(16 * 6, random);
  std::copy_n(keys.begin() + 4 * 6, 6, keys.begin() + 9 * 6);
  const std::vector<float> novelty = NoveltyOf(keys, 6);
  EXPECT_EQ(novelty[4], novelty[9]);
  EXPECT_THAT(novelty, Each(::testing::Gt(0.0F)));
}

TEST(FindNovelty, KeysThatAreAllAlikeHaveNone) {
  EXPECT_THAT(NoveltyOf(std::vector<double>(12 * 4, 0.0), 4), Each(0.0F));
  EXPECT_THAT(NoveltyOf(std::vector<double>(12 * 4, 1e3), 4), Each(0.0F));
  EXPECT_THAT(NoveltyOf({1, 2, 3}, 3), Each(0.0F));
  EXPECT_THAT(NoveltyOf({NAN, 2, 3, 4}, 2), Each(0.0F));
}

}  // namespace
}  // namespace fmaserver::kernels
