// Novelty: checked by hand, by its definition, and by what must not change it.
#include "kernels/cpu/novelty.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fmaserver::kernels::cpu {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

std::vector<float> NoveltyOf(const std::vector<double>& keys, int64_t dim) {
  NoveltyScratch scratch(std::ssize(keys) / dim, dim);
  for (int64_t i = 0; i < std::ssize(keys); ++i) {
    scratch.keys[i % dim * scratch.key_stride + i / dim] = keys[i];
  }
  FindNovelty(scratch);
  return scratch.novelty;
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

/// x^T (S + 0.1 mu I)^(-1) x, with the system solved by conjugate gradients.
std::vector<float> ByDefinition(const std::vector<double>& keys, int64_t dim) {
  const int64_t count = std::ssize(keys) / dim;
  std::vector<double> x = keys;
  for (int64_t c = 0; c < dim; ++c) {
    double mean = 0;
    for (int64_t i = 0; i < count; ++i) mean += keys[i * dim + c] / static_cast<double>(count);
    for (int64_t i = 0; i < count; ++i) x[i * dim + c] -= mean;
  }
  const auto dot = [&](const double* a, const double* b) {
    return std::inner_product(a, a + dim, b, 0.0);
  };
  const double mu =
      std::inner_product(x.begin(), x.end(), x.begin(), 0.0) / static_cast<double>(std::ssize(x));
  const auto times = [&](const std::vector<double>& v) {
    std::vector<double> product(dim);
    for (int64_t c = 0; c < dim; ++c) product[c] = 0.1 * mu * v[c];
    for (int64_t i = 0; i < count; ++i) {
      const double share = dot(&x[i * dim], v.data()) / static_cast<double>(count);
      for (int64_t c = 0; c < dim; ++c) product[c] += share * x[i * dim + c];
    }
    return product;
  };
  std::vector<float> novelty;
  for (int64_t i = 0; i < count; ++i) {
    std::vector<double> rest(&x[i * dim], &x[i * dim] + dim);
    std::vector<double> direction = rest;
    std::vector<double> solution(dim);
    double square = dot(rest.data(), rest.data());
    for (int step = 0; step < 400 && square > 1e-24; ++step) {
      const std::vector<double> product = times(direction);
      const double length = square / dot(direction.data(), product.data());
      for (int64_t c = 0; c < dim; ++c) {
        solution[c] += length * direction[c];
        rest[c] -= length * product[c];
      }
      const double next = dot(rest.data(), rest.data());
      for (int64_t c = 0; c < dim; ++c) direction[c] = rest[c] + next / square * direction[c];
      square = next;
    }
    novelty.push_back(InSteps(dot(&x[i * dim], solution.data())));
  }
  return novelty;
}

/// More tokens than channels and fewer, in sizes around those of tiles.
TEST(FindNovelty, IsTheLeverageInEveryShape) {
  std::mt19937 random(3);
  for (const int64_t tokens : {2, 7, 8, 12, 33, 64}) {
    for (const int64_t dim : {1, 6, 16, 37, 64}) {
      const std::vector<double> keys = RandomKeys(tokens * dim, random);
      const std::vector<float> novelty = NoveltyOf(keys, dim);
      const std::vector<float> expected = ByDefinition(keys, dim);
      for (int64_t i = 0; i < tokens; ++i) {
        EXPECT_NEAR(novelty[i], expected[i], 1.01 / 1024) << tokens << " x " << dim;
      }
    }
  }
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
  for (const int64_t dim : {6, 40}) {
    std::vector<double> keys = RandomKeys(16 * dim, random);
    std::copy_n(keys.begin() + 4 * dim, dim, keys.begin() + 9 * dim);
    const std::vector<float> novelty = NoveltyOf(keys, dim);
    EXPECT_EQ(novelty[4], novelty[9]);
    EXPECT_THAT(novelty, Each(::testing::Gt(0.0F)));
  }
}

TEST(FindNovelty, KeysThatAreAllAlikeHaveNone) {
  EXPECT_THAT(NoveltyOf(std::vector<double>(12 * 4, 0.0), 4), Each(0.0F));
  EXPECT_THAT(NoveltyOf(std::vector<double>(12 * 4, 1e3), 4), Each(0.0F));
  EXPECT_THAT(NoveltyOf({1, 2, 3}, 3), Each(0.0F));
  EXPECT_THAT(NoveltyOf({NAN, 2, 3, 4}, 2), Each(0.0F));
}

}  // namespace
}  // namespace fmaserver::kernels::cpu
