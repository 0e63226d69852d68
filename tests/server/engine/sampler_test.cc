// Each filter's distribution against plain arithmetic on random logits.
#include "server/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver {
namespace {

std::vector<float> RandomLogits(int count, uint64_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

/// The distribution that the parameters ask for, term by term.
std::vector<double> Expected(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  if (params.top_k > 0) order.resize(std::min<size_t>(order.size(), params.top_k));
  double total = 0;
  for (int i : order) total += std::exp(logits[i] / params.temperature);
  std::vector<double> probabilities(logits.size());
  double cumulative = 0;
  double kept = 0;
  for (int i : order) {
    if (cumulative >= params.top_p) break;
    const double probability = std::exp(logits[i] / params.temperature) / total;
    probabilities[i] = probability;
    cumulative += probability;
    kept += probability;
  }
  for (double& probability : probabilities) probability /= kept;
  return probabilities;
}

TEST(Sampler, FrequenciesFollowTheFilteredDistribution) {
  const std::vector<float> logits = RandomLogits(20, 1);
  for (const SamplingParams& params :
       {SamplingParams{1.0F, 0, 1.0F, {}}, SamplingParams{0.5F, 0, 1.0F, {}},
        SamplingParams{1.0F, 5, 1.0F, {}}, SamplingParams{1.3F, 0, 0.7F, {}},
        SamplingParams{2.0F, 8, 0.8F, {}}}) {
    Sampler sampler(params, 42);
    constexpr int kDraws = 100000;
    std::vector<int> counts(logits.size());
    for (int i = 0; i < kDraws; ++i) ++counts[*sampler.Sample(logits)];
    const std::vector<double> expected = Expected(logits, params);
    for (size_t i = 0; i < logits.size(); ++i) {
      // Five standard deviations of a binomial count.
      const double p = expected[i];
      EXPECT_NEAR(counts[i], kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p)) + 1e-9)
          << "token " << i;
    }
  }
}

TEST(Sampler, GreedyTakesTheFirstOfTheBest) {
  Sampler sampler({0.0F, 0, 1.0F, {}}, 1);
  EXPECT_EQ(*sampler.Sample(std::vector<float>{1, 3, 2, 3}), 1);
}

TEST(Sampler, SameSeedSameTokens) {
  const std::vector<float> logits = RandomLogits(50, 3);
  const auto draw = [&](uint64_t seed) {
    Sampler sampler({}, seed);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 20; ++i) tokens.push_back(*sampler.Sample(logits));
    return tokens;
  };
  EXPECT_EQ(draw(5), draw(5));
  EXPECT_NE(draw(5), draw(6));
}

TEST(Sampler, RefusesLogitsThatAreNotFinite) {
  Sampler sampler({}, 1);
  for (const float bad : {NAN, INFINITY}) {
    const auto token = sampler.Sample(std::vector<float>{0, bad, 1});
    EXPECT_EQ(token.status().code(), absl::StatusCode::kInternal);
  }
}

TEST(LogProbabilities, SumToOneAndRankTheBest) {
  const std::vector<float> logits = RandomLogits(300, 4);
  const LogProbabilities probabilities(logits);
  double total = 0;
  for (int i = 0; i < 300; ++i) total += std::exp(double{probabilities.Of(i)});
  EXPECT_NEAR(total, 1, 1e-5);
  const auto top = probabilities.Top(7);
  ASSERT_EQ(top.size(), 7U);
  EXPECT_EQ(top[0].token, std::max_element(logits.begin(), logits.end()) - logits.begin());
  for (size_t i = 1; i < top.size(); ++i) EXPECT_GE(top[i - 1].logprob, top[i].logprob);
  EXPECT_TRUE(probabilities.Top(0).empty());
}

}  // namespace
}  // namespace fmaserver
