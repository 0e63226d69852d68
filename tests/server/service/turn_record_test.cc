#include "server/service/turn_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace fmaserver::testing {
namespace {

using service::DecodeTurn;
using service::EncodeTurn;
using service::GenerateRequest;

GenerateRequest Unusual() {
  GenerateRequest request;
  request.prompt.text = "not kept";
  request.cache_salt = "salt";
  request.skip_prefix_cache = true;
  request.options.no_archive = true;
  engine::GenerateRequest& options = request.options;
  options.sampling = {.temperature = 0.5F,
                      .top_k = 7,
                      .top_p = 0.25F,
                      .min_p = 0.125F,
                      .repetition_penalty = 1.5F,
                      .frequency_penalty = -1,
                      .presence_penalty = 2,
                      .logit_bias = {{3, -100.0F}, {9, 1.0F}},
                      .allowed_token_ids = {1, 2},
                      .banned_token_ids = {4}};
  options.max_tokens = int64_t{1} << 40;
  options.min_tokens = 6;
  options.ignore_eos = true;
  options.stop = {"a", "\xc3\xa9"};
  options.stop_token_ids = {8};
  options.include_stop = true;
  options.time_limit_seconds = 1.5;
  options.logprobs = true;
  options.top_logprobs = 11;
  options.sources = 5;
  options.attention_shares = true;
  options.priority = -3;
  options.marks = {1};
  options.echo = true;
  options.prompt_logprobs = 2;
  return request;
}

TEST(TurnRecord, HoldsAllButThePrompt) {
  const GenerateRequest before = Unusual();
  const auto after = DecodeTurn(EncodeTurn(before));
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_TRUE(after->prompt.empty());
  EXPECT_EQ(after->cache_salt, before.cache_salt);
  EXPECT_EQ(after->skip_prefix_cache, before.skip_prefix_cache);
  EXPECT_EQ(after->options.no_archive, before.options.no_archive);
  const engine::SamplingParams& a = before.options.sampling;
  const engine::SamplingParams& b = after->options.sampling;
  EXPECT_EQ(b.temperature, a.temperature);
  EXPECT_EQ(b.top_k, a.top_k);
  EXPECT_EQ(b.top_p, a.top_p);
  EXPECT_EQ(b.min_p, a.min_p);
  EXPECT_EQ(b.repetition_penalty, a.repetition_penalty);
  EXPECT_EQ(b.frequency_penalty, a.frequency_penalty);
  EXPECT_EQ(b.presence_penalty, a.presence_penalty);
  EXPECT_EQ(b.logit_bias, a.logit_bias);
  EXPECT_EQ(b.allowed_token_ids, a.allowed_token_ids);
  EXPECT_EQ(b.banned_token_ids, a.banned_token_ids);
  EXPECT_EQ(after->options.max_tokens, before.options.max_tokens);
  EXPECT_EQ(after->options.min_tokens, before.options.min_tokens);
  EXPECT_EQ(after->options.ignore_eos, before.options.ignore_eos);
  EXPECT_EQ(after->options.stop, before.options.stop);
  EXPECT_EQ(after->options.stop_token_ids, before.options.stop_token_ids);
  EXPECT_EQ(after->options.include_stop, before.options.include_stop);
  EXPECT_EQ(after->options.time_limit_seconds, before.options.time_limit_seconds);
  EXPECT_EQ(after->options.logprobs, before.options.logprobs);
  EXPECT_EQ(after->options.top_logprobs, before.options.top_logprobs);
  EXPECT_EQ(after->options.sources, before.options.sources);
  EXPECT_EQ(after->options.attention_shares, before.options.attention_shares);
  EXPECT_EQ(after->options.priority, before.options.priority);
  // These concern only the prompt, which the session already holds.
  EXPECT_TRUE(after->options.marks.empty());
  EXPECT_FALSE(after->options.echo);
  EXPECT_FALSE(after->options.prompt_logprobs.has_value());
}

TEST(TurnRecord, DefaultsStayDefaults) {
  const auto after = DecodeTurn(EncodeTurn(GenerateRequest()));
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->options.max_tokens, engine::GenerateRequest().max_tokens);
  EXPECT_EQ(after->options.time_limit_seconds, engine::GenerateRequest().time_limit_seconds);
  EXPECT_EQ(after->options.sampling.temperature, 1.0F);
}

TEST(TurnRecord, TakesAnyBytes) {
  std::mt19937 random(5);
  const std::string valid = EncodeTurn(Unusual());
  for (int i = 0; i < 5000; ++i) {
    std::string bytes = valid;
    for (int changes = 0; changes < 3; ++changes) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    const auto request = DecodeTurn(bytes);
    EXPECT_TRUE(request.ok() || request.status().code() == absl::StatusCode::kDataLoss);
  }
}

}  // namespace
}  // namespace fmaserver::testing
