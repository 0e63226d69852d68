// Sampling, stopping and log-probabilities of whole requests, on a small random model.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/engine/engine_fixture.h"

namespace fmaserver::testing {
namespace {

constexpr int32_t kEndOfText = 257;

class SamplingRequestTest : public ::testing::Test {
 protected:
  SamplingRequestTest() {
    const engine::EngineOptions options{.num_slots = 2, .max_queue = 4, .step_tokens = 16};
    auto engine =
        engine::Engine::Create(MakeModel(SmallConfig(), 3, engine::Engine::MaxRows(options)),
                               model::MakeByteTokenizer(SmallConfig().vocab_size), options);
    EXPECT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }

  /// Generates letters, which are easy to cut; only the length ends the text.
  static engine::GenerateRequest Letters(int64_t max_tokens, uint64_t seed = 1) {
    engine::GenerateRequest request;
    request.prompt = {'O', 'n', 'c', 'e'};
    request.max_tokens = max_tokens;
    request.sampling.seed = seed;
    for (int32_t letter = 'a'; letter <= 'z'; ++letter) {
      request.sampling.allowed_token_ids.push_back(letter);
    }
    return request;
  }

  std::shared_ptr<RecordingGenerateSink> Complete(engine::GenerateRequest request) {
    auto sink = std::make_shared<RecordingGenerateSink>();
    const auto id = engine_->Submit(std::move(request), sink);
    EXPECT_TRUE(id.ok()) << id.status();
    EXPECT_TRUE(sink->Wait());
    EXPECT_TRUE(sink->status.ok()) << sink->status;
    return sink;
  }

  std::string Refusal(engine::GenerateRequest request) {
    const auto id = engine_->Submit(std::move(request), std::make_shared<RecordingGenerateSink>());
    EXPECT_EQ(id.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(id.status().message());
  }

  std::unique_ptr<engine::Engine> engine_;
};

TEST_F(SamplingRequestTest, OnlyAllowedTokensComeOut) {
  const auto sink = Complete(Letters(200));
  EXPECT_EQ(sink->tokens.size(), 200U);
  for (const int32_t token : sink->tokens) EXPECT_TRUE(token >= 'a' && token <= 'z') << token;
  engine::GenerateRequest request = Letters(200);
  request.sampling.banned_token_ids = {'e', 'a'};
  EXPECT_EQ(Complete(request)->text.find_first_of("ea"), std::string::npos);
}

TEST_F(SamplingRequestTest, PenaltiesSpreadTheTokens) {
  engine::GenerateRequest request = Letters(26);
  request.sampling.temperature = 0;
  request.sampling.logit_bias = {{'q', 50}};
  EXPECT_EQ(Complete(request)->text, std::string(26, 'q'));
  request.sampling.logit_bias.clear();
  request.sampling.repetition_penalty = 100;
  request.sampling.presence_penalty = 2;
  const auto sink = Complete(request);
  EXPECT_GT(std::set<int32_t>(sink->tokens.begin(), sink->tokens.end()).size(), 10U);
}

TEST_F(SamplingRequestTest, StopStringEndsTheTextWhereverItIsCut) {
  const std::string whole = Complete(Letters(60))->text;
  for (size_t length = 1; length <= 5; ++length) {
    engine::GenerateRequest request = Letters(60);
    request.stop = {"never seen", whole.substr(20, length)};
    const size_t at = whole.find(request.stop[1]);
    const auto sink = Complete(request);
    EXPECT_EQ(sink->text, whole.substr(0, at));
    EXPECT_EQ(sink->finish.reason, engine::FinishReason::kStopSequence);
    EXPECT_EQ(sink->finish.stop, request.stop[1]);
    EXPECT_EQ(sink->finish.stop_token, std::nullopt);
    EXPECT_EQ(sink->tokens.size(), at + length) << "token ids hold those of the stop string";
    EXPECT_EQ(sink->finish.usage.generated_tokens, static_cast<int64_t>(at + length));

    request.include_stop = true;
    EXPECT_EQ(Complete(request)->text, whole.substr(0, at + length));
  }
}

TEST_F(SamplingRequestTest, TheStartOfAStopStringComesWithTheFinish) {
  const std::string whole = Complete(Letters(10))->text;
  engine::GenerateRequest request = Letters(10);
  request.stop = {whole.substr(7) + "!"};
  const auto sink = Complete(request);
  EXPECT_EQ(sink->finish.reason, engine::FinishReason::kLength);
  EXPECT_EQ(sink->finish.text, whole.substr(7));
  EXPECT_EQ(sink->text, whole);
}

TEST_F(SamplingRequestTest, StopTokenEndsTheOutputBeforeOrAfterIt) {
  const auto whole = Complete(Letters(60));
  const int32_t stop = whole->tokens[30];
  const auto at = std::ranges::find(whole->tokens, stop) - whole->tokens.begin();
  engine::GenerateRequest request = Letters(60);
  request.stop_token_ids = {stop};
  const auto sink = Complete(request);
  EXPECT_EQ(sink->finish.reason, engine::FinishReason::kStopSequence);
  EXPECT_EQ(sink->finish.stop_token, stop);
  EXPECT_EQ(sink->finish.stop, "");
  EXPECT_EQ(sink->text, whole->text.substr(0, at));
  EXPECT_EQ(sink->tokens.size(), static_cast<size_t>(at));

  request.include_stop = true;
  const auto with = Complete(request);
  EXPECT_EQ(with->text, whole->text.substr(0, at + 1));
  EXPECT_EQ(with->tokens.back(), stop);
}

TEST_F(SamplingRequestTest, EndOfSequenceNamesItsToken) {
  engine::GenerateRequest request = Letters(60);
  request.sampling.allowed_token_ids = {'a', kEndOfText};
  const auto sink = Complete(request);
  EXPECT_EQ(sink->finish.reason, engine::FinishReason::kEos);
  EXPECT_EQ(sink->finish.stop_token, kEndOfText);

  request.ignore_eos = true;
  const auto on = Complete(request);
  EXPECT_EQ(on->tokens.size(), 60U);
  EXPECT_GT(std::ranges::count(on->tokens, kEndOfText), 0);
}

TEST_F(SamplingRequestTest, MinTokensPostponesEveryStop) {
  engine::GenerateRequest request = Letters(60);
  request.sampling.allowed_token_ids = {'a', 'b', 'c', kEndOfText};
  request.stop_token_ids = {'c'};
  request.min_tokens = 40;
  const auto tokens = Complete(request);
  EXPECT_GE(tokens->tokens.size(), 40U);
  EXPECT_EQ(std::ranges::count(tokens->tokens, 'c'), 0);

  // A stop string within min_tokens does not count, and neither does one that begins within them.
  const std::string whole = Complete(Letters(300))->text;
  for (const auto& [at, length] : {std::pair(10, 1), std::pair(17, 1), std::pair(17, 2)}) {
    request = Letters(300);
    request.stop = {whole.substr(at, length)};
    request.min_tokens = 18;
    const auto sink = Complete(request);
    EXPECT_EQ(sink->text, whole.substr(0, whole.find(request.stop[0], 18)));
    EXPECT_GE(sink->tokens.size(), 18U);
  }
}

TEST_F(SamplingRequestTest, TimeLimitEndsTheStreamWithWhatThereIs) {
  engine::GenerateRequest request = Letters(1'000'000'000);
  request.time_limit_seconds = 0.05;
  const auto sink = Complete(request);
  EXPECT_EQ(sink->finish.reason, engine::FinishReason::kTimeLimit);
  EXPECT_GT(sink->tokens.size(), 0U);
  EXPECT_EQ(sink->finish.usage.generated_tokens, static_cast<int64_t>(sink->tokens.size()));
  EXPECT_GE(sink->finish.usage.prefill_seconds + sink->finish.usage.decode_seconds, 0.05);
}

TEST_F(SamplingRequestTest, TimeLimitHoldsWhileThePromptIsRead) {
  engine::GenerateRequest request = Letters(1);
  request.prompt.assign(1'000'000, 'a');
  request.time_limit_seconds = 0.01;
  const auto sink = Complete(request);
  EXPECT_EQ(sink->finish.reason, engine::FinishReason::kTimeLimit);
  EXPECT_TRUE(sink->tokens.empty());
  EXPECT_GE(sink->finish.usage.prefill_seconds, 0.01);
  EXPECT_EQ(sink->finish.usage.decode_seconds, 0);
}

TEST_F(SamplingRequestTest, TopLogprobsComeForEveryTokenAndHoldIt) {
  engine::GenerateRequest request = Letters(20);
  request.sampling.allowed_token_ids.clear();
  request.sampling.temperature = 0;
  request.ignore_eos = true;
  request.logprobs = true;
  request.top_logprobs = 5;
  const auto sink = Complete(request);
  ASSERT_EQ(sink->top_logprobs.size(), 20U);
  for (size_t i = 0; i < 20; ++i) {
    ASSERT_EQ(sink->top_logprobs[i].size(), 5U);
    EXPECT_EQ(sink->top_logprobs[i][0].token, sink->tokens[i]);
    EXPECT_EQ(sink->top_logprobs[i][0].value, sink->logprobs[i]);
  }
  // Log-probabilities describe the model, whatever the filters do.
  request.sampling.banned_token_ids = {sink->tokens[0]};
  const auto banned = Complete(request);
  EXPECT_EQ(banned->top_logprobs[0][0].token, sink->tokens[0]);
  EXPECT_EQ(banned->tokens[0], sink->top_logprobs[0][1].token);

  request.logprobs = false;
  EXPECT_TRUE(Complete(request)->logprobs.empty());
}

TEST_F(SamplingRequestTest, NamesWhatIsOutOfRange) {
  const auto refusal = [&](auto change) {
    engine::GenerateRequest request = Letters(5);
    change(request);
    return Refusal(std::move(request));
  };
  EXPECT_EQ(refusal([](auto& r) { r.sampling.min_p = 1.5F; }), "min_p is 1.5; allowed: 0 to 1");
  EXPECT_EQ(refusal([](auto& r) { r.sampling.repetition_penalty = 0; }),
            "repetition_penalty is 0; allowed: 0.01 to 100");
  EXPECT_EQ(refusal([](auto& r) { r.sampling.frequency_penalty = 3; }),
            "frequency_penalty is 3; allowed: -2 to 2");
  EXPECT_EQ(refusal([](auto& r) { r.sampling.presence_penalty = NAN; }),
            "presence_penalty is nan; allowed: -2 to 2");
  EXPECT_EQ(refusal([](auto& r) {
              r.sampling.logit_bias = {{7, -INFINITY}};
            }),
            "logit_bias[7] is -inf; allowed: -100 to 100");
  EXPECT_EQ(refusal([](auto& r) {
              r.sampling.logit_bias = {{260, 1}};
            }),
            "token of logit_bias is 260; allowed: 0 to 259");
  EXPECT_EQ(refusal([](auto& r) {
              r.sampling.allowed_token_ids = {1, 260};
            }),
            "allowed_token_ids[1] is 260; allowed: token ids 0 to 259");
  EXPECT_EQ(refusal([](auto& r) { r.sampling.banned_token_ids = {-1}; }),
            "banned_token_ids[0] is -1; allowed: token ids 0 to 259");
  EXPECT_EQ(refusal([](auto& r) { r.min_tokens = 6; }),
            "min_tokens is 6; allowed: 0 to max_tokens, 5");
  EXPECT_EQ(refusal([](auto& r) {
              r.stop = {"a", ""};
            }),
            "stop[1] is 0 bytes long; allowed: 1 to 256");
  EXPECT_EQ(refusal([](auto& r) { r.stop = {std::string(257, 'a')}; }),
            "stop[0] is 257 bytes long; allowed: 1 to 256");
  EXPECT_EQ(refusal([](auto& r) { r.stop.assign(17, "a"); }),
            "stop is 17 strings; allowed: at most 16");
  EXPECT_EQ(refusal([](auto& r) { r.stop_token_ids = {260}; }),
            "stop_token_ids[0] is 260; allowed: token ids 0 to 259");
  EXPECT_EQ(refusal([](auto& r) { r.stop_token_ids.assign(129, 1); }),
            "stop_token_ids is 129 ids; allowed: at most 128");
  for (const double limit : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_NE(refusal([&](auto& r) { r.time_limit_seconds = limit; }).find("a positive number"),
              std::string::npos);
  }
  EXPECT_EQ(refusal([](auto& r) { r.top_logprobs = 101; }),
            "top_logprobs is 101; allowed: 0 to 100");
}

TEST_F(SamplingRequestTest, RefusesWhatLeavesNoToken) {
  const std::string message = "leave is 0; allowed: 1 or more";
  engine::GenerateRequest banned = Letters(5);
  banned.sampling.banned_token_ids = banned.sampling.allowed_token_ids;
  EXPECT_NE(Refusal(banned).find(message), std::string::npos);

  engine::GenerateRequest postponed = Letters(5);
  postponed.sampling.allowed_token_ids = {'a', kEndOfText};
  postponed.stop_token_ids = {'a'};
  EXPECT_EQ(Complete(postponed)->tokens.size(), 0U);
  postponed.min_tokens = 1;
  EXPECT_NE(Refusal(postponed).find(message), std::string::npos);
  postponed.ignore_eos = true;
  EXPECT_GE(Complete(postponed)->tokens.size(), 1U);
}

}  // namespace
}  // namespace fmaserver::testing
