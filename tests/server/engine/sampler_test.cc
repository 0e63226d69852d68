// Each filter's distribution against plain arithmetic on random logits.
#include "server/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::engine {
namespace {

std::vector<float> RandomLogits(int count, uint64_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

/// The logits after the filters that also affect greedy sampling, token by token.
std::vector<float> Adjusted(std::vector<float> logits, const SamplingParams& params,
                            const std::vector<int32_t>& prompt,
                            const std::vector<int32_t>& output) {
  for (int32_t token = 0; token < static_cast<int32_t>(logits.size()); ++token) {
    float& logit = logits[token];
    const auto& allowed = params.allowed_token_ids;
    if ((!allowed.empty() && std::ranges::count(allowed, token) == 0) ||
        std::ranges::count(params.banned_token_ids, token) > 0) {
      logit = -INFINITY;
    }
    if (params.logit_bias.contains(token)) logit += params.logit_bias.at(token);
    const auto times = std::ranges::count(output, token);
    if (times > 0 || std::ranges::count(prompt, token) > 0) {
      if (logit > 0) {
        logit /= params.repetition_penalty;
      } else {
        logit *= params.repetition_penalty;
      }
    }
    for (int i = 0; i < times; ++i) logit -= params.frequency_penalty;
    if (times > 0) logit -= params.presence_penalty;
  }
  return logits;
}

void Normalize(std::vector<double>& probabilities) {
  const double total = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
  for (double& probability : probabilities) probability /= total;
}

/// Tokens from the most to the least probable.
std::vector<int> Ranked(const std::vector<double>& probabilities) {
  std::vector<int> order(probabilities.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order,
                           [&](int a, int b) { return probabilities[a] > probabilities[b]; });
  return order;
}

/// The distribution that the parameters define: one filter after the other, with the probabilities
/// normalized in between.
std::vector<double> Expected(const std::vector<float>& logits, const SamplingParams& params,
                             const std::vector<int32_t>& prompt = {},
                             const std::vector<int32_t>& output = {}) {
  const std::vector<float> adjusted = Adjusted(logits, params, prompt, output);
  const double max = *std::ranges::max_element(adjusted);
  std::vector<double> probabilities;
  for (const float logit : adjusted) {
    probabilities.push_back(std::exp((logit - max) / params.temperature));
  }
  Normalize(probabilities);

  const double best = *std::ranges::max_element(probabilities);
  for (double& probability : probabilities) {
    if (probability < params.min_p * best) probability = 0;
  }
  Normalize(probabilities);

  const std::vector<int> order = Ranked(probabilities);
  for (size_t rank = 0; rank < order.size(); ++rank) {
    if (params.top_k > 0 && rank >= static_cast<size_t>(params.top_k)) {
      probabilities[order[rank]] = 0;
    }
  }
  Normalize(probabilities);

  double cumulative = 0;
  for (const int token : order) {
    const bool inside = cumulative < params.top_p;
    cumulative += probabilities[token];
    if (!inside) probabilities[token] = 0;
  }
  Normalize(probabilities);
  return probabilities;
}

/// Expects every token's count within five standard deviations of a binomial count.
void ExpectCounts(const std::vector<int>& counts, const std::vector<double>& expected) {
  const int draws = std::accumulate(counts.begin(), counts.end(), 0);
  for (size_t i = 0; i < counts.size(); ++i) {
    const double p = expected[i];
    EXPECT_NEAR(counts[i], draws * p, 5 * std::sqrt(draws * p * (1 - p)) + 1e-9) << "token " << i;
  }
}

void ExpectDistribution(const std::vector<float>& logits, const SamplingParams& params) {
  Sampler sampler(params, 42, {});
  std::vector<int> counts(logits.size());
  for (int i = 0; i < 50000; ++i) ++counts[*sampler.Sample(logits)];
  ExpectCounts(counts, Expected(logits, params));
}

TEST(Sampler, FrequenciesFollowTheFilteredDistribution) {
  const std::vector<float> logits = RandomLogits(20, 1);
  for (const SamplingParams& params : std::vector<SamplingParams>{
           {},
           {.temperature = 0.5F},
           {.top_k = 5},
           {.temperature = 1.3F, .top_p = 0.7F},
           {.temperature = 2, .top_k = 8, .top_p = 0.8F},
           {.min_p = 0.1F},
           {.temperature = 3, .min_p = 0.3F},
           {.temperature = 2, .top_k = 9, .top_p = 0.9F, .min_p = 0.2F},
           {.logit_bias = {{0, 4}, {7, -3.5F}, {19, 0.25F}}},
           {.allowed_token_ids = {3, 17, 4, 3, 8}},
           {.banned_token_ids = {0, 1, 2, 2, 19}},
           {.logit_bias = {{5, 100}, {6, 2}},
           .allowed_token_ids = {5, 6, 7},
           .banned_token_ids = {5}},
           {.top_k = 3, .banned_token_ids = {0, 3, 9, 10}},
       }) {
    ExpectDistribution(logits, params);
  }
}

// One step after a history. Its draws have different random numbers because their seeds differ.
TEST(Sampler, PenaltiesFollowPromptAndOutput) {
  const std::vector<float> logits = RandomLogits(12, 5);
  const std::vector<int32_t> prompt = {0, 1, 1, 2};
  const std::vector<int32_t> output = {2, 3, 3, 3, 4};
  for (const SamplingParams& params : std::vector<SamplingParams>{
           {.repetition_penalty = 1.5F},
           {.repetition_penalty = 0.5F},
           {.frequency_penalty = 0.7F},
           {.frequency_penalty = -0.4F},
           {.presence_penalty = 1.5F},
           {.temperature = 0.8F,
           .top_k = 8,
           .top_p = 0.95F,
           .min_p = 0.02F,
           .repetition_penalty = 1.3F,
           .frequency_penalty = 0.3F,
           .presence_penalty = 0.6F,
           .logit_bias = {{3, 2}},
           .banned_token_ids = {11}},
       }) {
    std::vector<int> counts(logits.size());
    for (uint64_t seed = 0; seed < 20000; ++seed) {
      Sampler sampler(params, seed, prompt);
      for (const int32_t token : output) {
        std::vector<float> certain(logits.size(), -1000);
        certain[token] = 1000;
        ASSERT_EQ(*sampler.Sample(certain), token);
      }
      ++counts[*sampler.Sample(logits)];
    }
    ExpectCounts(counts, Expected(logits, params, prompt, output));
  }
}

TEST(Sampler, GreedyHeedsTheFiltersBeforeTemperature) {
  const std::vector<float> logits = {5, 4, 3, 2};
  const auto greedy = [&](SamplingParams params, std::vector<int32_t> prompt = {}) {
    params.temperature = 0;
    Sampler sampler(params, 1, prompt);
    return *sampler.Sample(logits);
  };
  EXPECT_EQ(greedy({}), 0);
  EXPECT_EQ(greedy({.banned_token_ids = {0}}), 1);
  EXPECT_EQ(greedy({.allowed_token_ids = {2, 3}}), 2);
  EXPECT_EQ(greedy({.logit_bias = {{3, 4}}}), 3);
  EXPECT_EQ(greedy({.repetition_penalty = 3}, {0, 1}), 2);

  Sampler sampler({.temperature = 0, .presence_penalty = 1.5F}, 1, {});
  EXPECT_EQ(*sampler.Sample(logits), 0);
  EXPECT_EQ(*sampler.Sample(logits), 1);
}

TEST(Sampler, SuppressedTokensAreNeverDrawn) {
  const std::vector<float> logits = RandomLogits(6, 2);
  const std::vector<int32_t> suppressed = {0, 2, 4};
  Sampler sampler({}, 1, {});
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(*sampler.Sample(logits, suppressed) % 2, 1);
}

// Every random draw from random filters has a probability above zero.
TEST(Sampler, RandomFiltersNeverLetAnExcludedTokenThrough) {
  std::mt19937 random(7);
  const auto uniform = [&](double from, double to) {
    return static_cast<float>(std::uniform_real_distribution<double>(from, to)(random));
  };
  for (int round = 0; round < 2000; ++round) {
    const std::vector<float> logits = RandomLogits(10, round);
    SamplingParams params{.temperature = uniform(0.1, 3),
                          .top_k = static_cast<int32_t>(random() % 11),
                          .top_p = uniform(0.05, 1),
                          .min_p = uniform(0, 0.5),
                          .repetition_penalty = uniform(0.5, 2),
                          .frequency_penalty = uniform(-2, 2),
                          .presence_penalty = uniform(-2, 2)};
    for (int i = random() % 3; i > 0; --i) params.banned_token_ids.push_back(random() % 10);
    for (int i = random() % 3; i > 0; --i) params.logit_bias[random() % 10] = uniform(-5, 5);
    const std::vector<int32_t> prompt = {static_cast<int32_t>(random() % 10)};
    std::vector<int32_t> output;
    Sampler sampler(params, round, prompt);
    for (int i = 0; i < 5; ++i) {
      const int32_t token = *sampler.Sample(logits);
      EXPECT_GT(Expected(logits, params, prompt, output)[token], 0) << "round " << round;
      output.push_back(token);
    }
  }
}

/// The random number of draw 0 of `seed`, in [0, 1): SplitMix64, twice.
double FirstUniform(uint64_t seed) {
  const auto scatter = [](uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
    return x ^ (x >> 31);
  };
  return static_cast<double>(scatter(scatter(seed) + 0x9E3779B97F4A7C15U) >> 11) * 0x1p-53;
}

/// The definition, by sorting everything: the fewest most likely tokens that hold top_p of what
/// min_p leaves, walked until the random number's part of their weight is reached.
int32_t SortedDraw(const std::vector<float>& logits, const SamplingParams& params, double uniform) {
  const float max = *std::ranges::max_element(logits);
  std::vector<std::pair<double, int32_t>> weights;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double weight = std::exp((double{logits[i]} - max) / params.temperature);
    if (weight >= params.min_p) weights.emplace_back(-weight, static_cast<int32_t>(i));
  }
  std::ranges::sort(weights);
  double total = 0;
  for (const auto& [negative, token] : weights) total -= negative;
  double kept = 0;
  size_t count = 0;
  while (count < weights.size() && kept < params.top_p * total) kept -= weights[count++].first;
  double rest = uniform * kept;
  for (size_t i = 0; i < count; ++i) {
    rest += weights[i].first;
    if (rest < 0) return weights[i].second;
  }
  return weights[count - 1].second;
}

// Vocabularies of all sizes near that of the partial selection, and logits with many equal values
// and gaps.
TEST(Sampler, NucleusIsThatOfAWholeSort) {
  std::mt19937 random(11);
  const auto uniform = [&](double from, double to) {
    return static_cast<float>(std::uniform_real_distribution<double>(from, to)(random));
  };
  for (uint64_t round = 0; round < 6000; ++round) {
    const size_t vocab = 1 + random() % (round % 10 == 0 ? 5000 : 150);
    const float spread = uniform(0, 6);
    const float step = random() % 2 == 0 ? 0.5F : 0.001F;
    std::vector<float> logits = RandomLogits(static_cast<int>(vocab), round);
    for (float& logit : logits) {
      logit = std::round(logit * spread / step) * step;
      if (random() % 20 == 0) logit = -INFINITY;
    }
    logits[random() % vocab] = 1;
    const SamplingParams params{.temperature = uniform(0.2, 3),
                                .top_p = random() % 4 == 0 ? 0.999999F : uniform(0.01, 1),
                                .min_p = random() % 2 == 0 ? 0 : uniform(0, 0.3)};
    Sampler sampler(params, round, {});
    EXPECT_EQ(*sampler.Sample(logits), SortedDraw(logits, params, FirstUniform(round)))
        << "round " << round << ", vocabulary " << vocab << ", top_p " << params.top_p;
  }
}

TEST(Sampler, GreedyTakesTheFirstOfTheBest) {
  Sampler sampler({.temperature = 0}, 1, {});
  EXPECT_EQ(*sampler.Sample(std::vector<float>{1, 3, 2, 3}), 1);
}

TEST(Sampler, SameSeedSameTokens) {
  const std::vector<float> logits = RandomLogits(50, 3);
  const auto draw = [&](uint64_t seed) {
    Sampler sampler({}, seed, {});
    std::vector<int32_t> tokens;
    for (int i = 0; i < 20; ++i) tokens.push_back(*sampler.Sample(logits));
    return tokens;
  };
  EXPECT_EQ(draw(5), draw(5));
  EXPECT_NE(draw(5), draw(6));
}

TEST(Sampler, RefusesLogitsThatAreNotFinite) {
  Sampler sampler({}, 1, {});
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
  for (size_t i = 1; i < top.size(); ++i) EXPECT_GE(top[i - 1].value, top[i].value);
  EXPECT_TRUE(probabilities.Top(0).empty());
}

}  // namespace
}  // namespace fmaserver::engine
