// Sampling on the device against the sampler of the engine: the same tokens, draw by draw.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/sampling.h"
#include "server/engine/sampler.h"
#include "tests/kernels/backends.h"

namespace fmaserver::testing {
namespace {

/// The sampler's random number of draw `draw` (from 1) of a seed.
double UniformAt(uint64_t seed, uint64_t draw) {
  const auto scatter = [](uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
    return x ^ (x >> 31);
  };
  const uint64_t bits = scatter(scatter(seed) + draw * 0x9E3779B97F4A7C15U);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

/// One sequence as both samplers know it.
struct SampledSequence {
  engine::SamplingParams params;
  uint64_t seed = 0;
  std::vector<int32_t> prompt;
  std::vector<int32_t> generated;
  std::vector<kernels::TokenValue> bias;
  std::vector<kernels::TokenValue> counts;

  kernels::RowSampling Row(bool logprobs, int32_t top) {
    bias.clear();
    for (const auto& [token, value] : params.logit_bias) bias.push_back({token, value});
    counts.clear();
    if (params.repetition_penalty != 1 || params.frequency_penalty != 0 ||
        params.presence_penalty != 0) {
      std::map<int32_t, float> times;
      for (const int32_t token : prompt) times.emplace(token, 0);
      for (const int32_t token : generated) ++times[token];
      for (const auto& [token, count] : times) counts.push_back({token, count});
    }
    return {.temperature = params.temperature,
            .top_k = params.top_k,
            .top_p = params.top_p,
            .min_p = params.min_p,
            .uniform = UniformAt(seed, generated.size() + 1),
            .repetition_penalty = params.repetition_penalty,
            .frequency_penalty = params.frequency_penalty,
            .presence_penalty = params.presence_penalty,
            .allowed = params.allowed_token_ids,
            .banned = params.banned_token_ids,
            .bias = bias,
            .counts = counts,
            .logprob = logprobs,
            .top_logprobs = top};
  }
};

std::vector<int32_t> SomeTokens(size_t count, int vocab, std::mt19937& random) {
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocab);
  return tokens;
}

SampledSequence RandomSequence(int vocab, std::mt19937& random) {
  SampledSequence sequence;
  sequence.seed = random();
  sequence.prompt = SomeTokens(random() % 20, vocab, random);
  engine::SamplingParams& params = sequence.params;
  const auto one_in = [&](int n) { return random() % n == 0; };
  const auto uniform = [&] { return static_cast<float>(random() % 1000) / 1000.0F; };
  if (one_in(5)) params.temperature = 0;
  if (one_in(2)) params.temperature = 0.05F + 2 * uniform();
  if (one_in(3)) params.top_k = 1 + static_cast<int32_t>(random() % (vocab + 2));
  if (one_in(3)) params.top_p = 0.001F + 0.999F * uniform();
  if (one_in(4)) params.min_p = uniform();
  if (one_in(4)) params.repetition_penalty = 0.5F + uniform();
  if (one_in(4)) params.frequency_penalty = 2 * uniform() - 1;
  if (one_in(4)) params.presence_penalty = 2 * uniform() - 1;
  if (one_in(5)) params.allowed_token_ids = SomeTokens(1 + random() % vocab, vocab, random);
  if (one_in(5)) params.banned_token_ids = SomeTokens(random() % 5, vocab, random);
  if (one_in(4)) {
    for (const int32_t token : SomeTokens(4, vocab, random)) {
      params.logit_bias[token] = 4 * uniform() - 2;
    }
  }
  return sequence;
}

/// Sometimes there are few distinct values, so that many logits are equal.
std::vector<float> RandomLogits(int count, std::mt19937& random) {
  std::normal_distribution<float> normal(0, 3);
  const bool coarse = random() % 3 == 0;
  std::vector<float> logits(count);
  for (float& logit : logits) {
    logit = normal(random);
    if (coarse) logit = std::round(logit);
  }
  return logits;
}

class DeviceSamplerTest : public BackendTest {};

TEST_P(DeviceSamplerTest, ChoosesWhatTheEnginesSamplerChooses) {
  std::mt19937 random(1);
  for (int round = 0; round < 60; ++round) {
    const int vocab = 1 + static_cast<int>(random() % (round % 4 == 0 ? 2000 : 40));
    const int rows = 1 + static_cast<int>(random() % 5);
    std::vector<SampledSequence> sequences;
    std::vector<engine::Sampler> samplers;
    for (int i = 0; i < rows; ++i) {
      sequences.push_back(RandomSequence(vocab, random));
      samplers.emplace_back(sequences[i].params, sequences[i].seed, sequences[i].prompt);
    }
    for (int draw = 0; draw < 4; ++draw) {
      const std::vector<float> logits = RandomLogits(rows * vocab, random);
      std::vector<kernels::RowSampling> how;
      std::vector<int32_t> expected;
      bool possible = true;
      for (int i = 0; i < rows; ++i) {
        how.push_back(sequences[i].Row(false, 0));
        const auto token = samplers[i].Sample(std::span(logits).subspan(i * vocab, vocab));
        possible = possible && token.ok();
        expected.push_back(token.value_or(0));
      }
      const DeviceMatrix there(backend(), rows, logits);
      std::vector<kernels::SampledRow> out(rows);
      const absl::Status status = backend().sampler()->Sample(there, how, out);
      ASSERT_TRUE(status.ok()) << status;
      const auto chosen = [](const kernels::SampledRow& row) {
        return row.token != kernels::kNoToken;
      };
      ASSERT_EQ(std::ranges::all_of(out, chosen), possible);
      if (!possible) break;
      for (int i = 0; i < rows; ++i) {
        ASSERT_EQ(out[i].token, expected[i]) << "round " << round << " row " << i;
        sequences[i].generated.push_back(expected[i]);
      }
      ASSERT_EQ(there.Read(), logits);
    }
  }
}

TEST_P(DeviceSamplerTest, LogProbabilitiesAreThoseOfThePlainLogits) {
  std::mt19937 random(2);
  for (const int vocab : {1, 2, 100, 1000}) {
    const std::vector<float> logits = RandomLogits(2 * vocab, random);
    std::vector<SampledSequence> sequences(2);
    sequences[0].params.banned_token_ids = {0};
    if (vocab == 1) sequences[0].params.banned_token_ids.clear();
    const std::vector<kernels::RowSampling> how = {sequences[0].Row(true, 7),
                                                   sequences[1].Row(true, 0)};
    const DeviceMatrix there(backend(), 2, logits);
    std::vector<kernels::SampledRow> out(2);
    ASSERT_TRUE(backend().sampler()->Sample(there, how, out).ok());
    for (int i = 0; i < 2; ++i) {
      const auto row = std::span(logits).subspan(i * vocab, vocab);
      const engine::LogProbabilities expected(row);
      EXPECT_NEAR(out[i].logprob, expected.Of(out[i].token), 1e-5);
      const auto top = expected.Top(how[i].top_logprobs);
      ASSERT_EQ(out[i].top.size(), top.size());
      for (size_t rank = 0; rank < top.size(); ++rank) {
        EXPECT_EQ(out[i].top[rank].token, top[rank].token);
        EXPECT_NEAR(out[i].top[rank].value, top[rank].value, 1e-5);
      }
    }
  }
}

TEST_P(DeviceSamplerTest, RefusesLogitsThatAreNotFinite) {
  for (const float broken : {NAN, INFINITY}) {
    std::vector<float> logits(20, 1.0F);
    logits[13] = broken;
    SampledSequence sequence;
    const std::vector<kernels::RowSampling> how(2, sequence.Row(false, 0));
    const DeviceMatrix there(backend(), 2, logits);
    std::vector<kernels::SampledRow> out(2);
    ASSERT_TRUE(backend().sampler()->Sample(there, how, out).ok());
    EXPECT_NE(out[0].token, kernels::kNoToken);
    EXPECT_EQ(out[1].token, kernels::kNoToken);  // the row of logit 13
  }
}

FMA_ON_BACKENDS(DeviceSamplerTest, CudaBackendNames);

}  // namespace
}  // namespace fmaserver::testing
