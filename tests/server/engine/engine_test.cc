// Requests through the engine's thread: results, admission, cancellation, draining.
#include "server/engine/engine.h"

#include <cmath>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "gtest/gtest.h"
#include "tests/server/engine/engine_fixture.h"

namespace fmaserver::testing {
namespace {

/// Records how each sample of a request ended.
class SamplesEnds : public RecordingGenerateSink {
 public:
  explicit SamplesEnds(size_t samples) : samples_(samples) {}
  void OnFinish(engine::Finished how) override {
    ends.emplace(how.index, how.reason);
    if (ends.size() == samples_) End(std::nullopt);
  }
  std::map<int32_t, engine::FinishReason> ends;

 private:
  const size_t samples_;
};

TEST(Engine, ConcurrentStreamsEqualSoloRunsBitForBit) {
  const auto engine = MakeEngine({.num_slots = 7, .max_queue = 64, .step_tokens = 50});
  std::vector<std::shared_ptr<RecordingGenerateSink>> solo;
  for (int i = 0; i < 24; ++i) solo.push_back(Complete(*engine, Prompt(1 + i * 9, 20 + i, i)));
  std::vector<std::shared_ptr<RecordingGenerateSink>> together;
  for (int i = 0; i < 24; ++i) {
    together.push_back(std::make_shared<RecordingGenerateSink>());
    ASSERT_TRUE(engine->Submit(Prompt(1 + i * 9, 20 + i, i), together.back()).ok());
  }
  for (int i = 0; i < 24; ++i) {
    ASSERT_TRUE(together[i]->Wait());
    EXPECT_TRUE(together[i]->status.ok());
    EXPECT_EQ(together[i]->tokens, solo[i]->tokens);
    EXPECT_EQ(together[i]->logprobs, solo[i]->logprobs);
    EXPECT_EQ(together[i]->text, solo[i]->text);
    EXPECT_EQ(together[i]->finish.usage.prompt_tokens, 1 + i * 9);
    EXPECT_EQ(together[i]->finish.usage.generated_tokens, 20 + i);
    EXPECT_EQ(together[i]->finish.reason, engine::FinishReason::kLength);
  }
}

TEST(Engine, LongPromptReportsProgressAndDoesNotStopOthers) {
  const auto engine = MakeEngine({.num_slots = 2, .max_queue = 4, .step_tokens = 10});
  const auto sink = Complete(*engine, Prompt(95, 1, 1));
  EXPECT_EQ(sink->progress, (std::vector<int64_t>{10, 20, 30, 40, 50, 60, 70, 80, 90, 95}));
  auto slow = std::make_shared<RecordingGenerateSink>();
  auto quick = std::make_shared<RecordingGenerateSink>();
  const auto id = engine->Submit(Prompt(2'000'000, 1, 2), slow);
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE(engine->Submit(Prompt(30, 30, 3), quick).ok());
  EXPECT_TRUE(quick->Wait());
  engine->Cancel(*id);
  EXPECT_TRUE(slow->Wait());
  EXPECT_EQ(slow->status.code(), absl::StatusCode::kCancelled);
}

TEST(Engine, StopsAtTheEndOfSequenceToken) {
  model::ModelConfig config = SmallConfig();
  for (int32_t id = 0; id < config.vocab_size; id += 2) config.eos_token_ids.push_back(id);
  const auto engine = MakeEngine({.num_slots = 1, .max_queue = 1, .step_tokens = 16}, config);
  engine::GenerateRequest request = Prompt(5, 1000, 1);
  request.ignore_eos = false;
  const auto sink = Complete(*engine, request);
  EXPECT_EQ(sink->finish.reason, engine::FinishReason::kEos);
  for (const int32_t token : sink->tokens) EXPECT_EQ(token % 2, 1);
}

TEST(Engine, LearnedPositionsEndTheSequence) {
  model::ModelConfig config = SmallConfig();
  config.attention.positions = kernels::PositionEmbedding::kLearned;
  config.attention.far_positions = kernels::FarPositions::kCenter;
  config.max_position_embeddings = 40;
  const auto engine = MakeEngine({.num_slots = 1, .max_queue = 1, .step_tokens = 16}, config);
  const auto sink = Complete(*engine, Prompt(30, 1000, 1));
  EXPECT_EQ(sink->finish.reason, engine::FinishReason::kLength);
  EXPECT_EQ(sink->tokens.size(), 11U);  // the last one is never fed
  auto refused = std::make_shared<RecordingGenerateSink>();
  const auto status = engine->Submit(Prompt(41, 1, 1), refused).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("at most 40"), absl::string_view::npos) << status;
}

TEST(Engine, NamesWhatIsWrongWithARequest) {
  const auto engine = MakeEngine({.num_slots = 1, .max_queue = 1, .step_tokens = 16});
  const auto refusal = [&](auto change) {
    engine::GenerateRequest request = Prompt(3, 5, 1);
    change(request);
    const auto status =
        engine->Submit(std::move(request), std::make_shared<RecordingGenerateSink>()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(refusal([](auto& r) { r.prompt.clear(); }),
            "prompt is empty; allowed: 1 token or more");
  EXPECT_EQ(refusal([](auto& r) { r.prompt[1] = 260; }),
            "prompt[1] is 260; allowed: token ids 0 to 259");
  EXPECT_EQ(refusal([](auto& r) { r.prompt[0] = -1; }),
            "prompt[0] is -1; allowed: token ids 0 to 259");
  EXPECT_EQ(refusal([](auto& r) { r.sampling.temperature = -1; }),
            "temperature is -1; allowed: 0 (greedy) or a positive number");
  EXPECT_EQ(refusal([](auto& r) { r.sampling.temperature = NAN; }),
            "temperature is nan; allowed: 0 (greedy) or a positive number");
  EXPECT_EQ(refusal([](auto& r) { r.sampling.top_p = 0; }),
            "top_p is 0; allowed: above 0, up to 1");
  EXPECT_EQ(refusal([](auto& r) { r.sampling.top_k = 261; }),
            "top_k is 261; allowed: 0 (all) to 260");
  EXPECT_EQ(refusal([](auto& r) { r.max_tokens = 0; }), "max_tokens is 0; allowed: 1 or more");
}

TEST(Engine, ScoresEqualTheLogprobsOfGeneration) {
  const auto engine = MakeEngine({.num_slots = 2, .max_queue = 4, .step_tokens = 13});
  const engine::GenerateRequest request = Prompt(20, 40, 9);
  const auto generated = Complete(*engine, request);
  engine::ScoreRequest score{request.prompt, 3};
  score.tokens.insert(score.tokens.end(), generated->tokens.begin(), generated->tokens.end());
  const auto sink = std::make_shared<RecordingScoreSink>();
  ASSERT_TRUE(engine->Submit(score, sink).ok());
  ASSERT_TRUE(sink->Wait());
  ASSERT_EQ(sink->scores.size(), 60U);
  EXPECT_FALSE(sink->scores[0].logprob.has_value());
  for (size_t i = 0; i < 60; ++i) EXPECT_EQ(sink->scores[i].token, score.tokens[i]);
  for (size_t i = 20; i < 60; ++i) {
    EXPECT_EQ(sink->scores[i].logprob, generated->logprobs[i - 20]);
    ASSERT_EQ(sink->scores[i].top.size(), 3U);
    EXPECT_GE(sink->scores[i].top[0].value, *sink->scores[i].logprob);
  }
}

TEST(Engine, RefusesAtOnceWhenTheQueueIsFull) {
  const auto engine = MakeEngine({.num_slots = 1, .max_queue = 2, .step_tokens = 4});
  std::vector<std::shared_ptr<RecordingGenerateSink>> sinks;
  std::vector<engine::RequestId> ids;
  absl::Status refusal;
  for (int i = 0; i < 10 && refusal.ok(); ++i) {
    sinks.push_back(std::make_shared<RecordingGenerateSink>());
    const auto id = engine->Submit(Prompt(100'000, 1, i), sinks.back());
    refusal = id.status();
    if (id.ok()) ids.push_back(*id);
  }
  EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ids.size(), 3U);
  for (const engine::RequestId id : ids) engine->Cancel(id);
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_TRUE(sinks[i]->Wait());
  EXPECT_TRUE(Complete(*engine, Prompt(3, 3, 1))->status.ok());
}

TEST(Engine, AbortThenNextRequestWithOneSlotAThousandTimes) {
  const auto engine = MakeEngine({.num_slots = 1, .max_queue = 4, .step_tokens = 64});
  std::mt19937 random(1);
  for (int i = 0; i < 1000; ++i) {
    auto aborted = std::make_shared<RecordingGenerateSink>();
    const auto id = engine->Submit(Prompt(1 + random() % 50, 1'000'000, i), aborted);
    ASSERT_TRUE(id.ok()) << id.status();
    if (random() % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
    engine->Cancel(*id);
    if (i % 50 == 0) {
      ASSERT_TRUE(Complete(*engine, Prompt(3, 2, i))->status.ok());
    }
    ASSERT_TRUE(aborted->Wait());
    ASSERT_EQ(aborted->status.code(), absl::StatusCode::kCancelled);
  }
  EXPECT_TRUE(Complete(*engine, Prompt(3, 3, 1))->status.ok());
}

TEST(Engine, DrainLetsTheRunningFinishAndRefusesNewWork) {
  const auto engine = MakeEngine({.num_slots = 2, .max_queue = 4, .step_tokens = 64});
  auto running = std::make_shared<RecordingGenerateSink>();
  ASSERT_TRUE(engine->Submit(Prompt(10, 200, 1), running).ok());
  engine->Drain(absl::Seconds(30));
  ASSERT_TRUE(running->Wait());
  EXPECT_TRUE(running->status.ok());
  EXPECT_EQ(running->tokens.size(), 200U);
  const auto status = engine->Submit(Prompt(1, 1, 1), std::make_shared<RecordingGenerateSink>());
  EXPECT_EQ(status.status().code(), absl::StatusCode::kUnavailable);
}

TEST(Engine, DrainEndsWhatOutlastsTheGrace) {
  const auto engine = MakeEngine({.num_slots = 2, .max_queue = 4, .step_tokens = 64});
  auto endless = std::make_shared<RecordingGenerateSink>();
  ASSERT_TRUE(engine->Submit(Prompt(10, 1'000'000'000, 1), endless).ok());
  engine->Drain(absl::Milliseconds(50));
  ASSERT_TRUE(endless->Wait());
  EXPECT_EQ(endless->status.code(), absl::StatusCode::kUnavailable);
}

TEST(Engine, EverySampleEndsWhenTimeIsUpBeforeTheyBegin) {
  const auto engine = MakeEngine({.num_slots = 4, .max_queue = 4, .step_tokens = 4});
  engine::GenerateRequest request = Prompt(2'000'000, 5, 1);
  request.time_limit_seconds = 1e-6;
  request.n = 3;
  const auto sink = std::make_shared<SamplesEnds>(3);
  ASSERT_TRUE(engine->Submit(request, sink).ok());
  ASSERT_TRUE(sink->Wait());
  EXPECT_EQ(sink->ends,
            (std::map<int32_t, engine::FinishReason>{{0, engine::FinishReason::kTimeLimit},
                                                     {1, engine::FinishReason::kTimeLimit},
                                                     {2, engine::FinishReason::kTimeLimit}}));
}

TEST(Engine, SaysWhatThereIsToDo) {
  const auto engine = MakeEngine({.num_slots = 1, .max_queue = 4, .step_tokens = 4});
  const auto idle = engine->Load();
  EXPECT_EQ(idle.running + idle.waiting, 0);
  EXPECT_EQ(idle.prompt_tokens, 0);
  EXPECT_FALSE(idle.draining || idle.failed);
  EXPECT_GE(idle.seconds_since_step, 0);

  constexpr int kTokens = 2'000'000;
  const auto slow = std::make_shared<RecordingGenerateSink>();
  const auto next = std::make_shared<RecordingGenerateSink>();
  const auto id = engine->Submit(Prompt(kTokens, 1, 1), slow);
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE(engine->Submit(Prompt(100, 5, 2), next).ok());
  engine::LoadReport busy = engine->Load();
  // Between leaving the queue and its first step a prompt is not counted anywhere.
  const Clock::time_point begin = Clock::now();
  while (busy.running == 0 || busy.prompt_tokens < kTokens / 2) {
    ASSERT_LT(SecondsSince(begin), 30);
    busy = engine->Load();
  }
  EXPECT_EQ(busy.running, 1);
  EXPECT_EQ(busy.waiting, 1);
  EXPECT_GT(busy.prompt_tokens, kTokens / 2);
  EXPECT_LE(busy.prompt_tokens, kTokens + 100);
  engine->Cancel(*id);
  ASSERT_TRUE(slow->Wait() && next->Wait());
  engine->Drain(absl::Seconds(5));
  const auto drained = engine->Load();
  EXPECT_TRUE(drained.draining);
  EXPECT_EQ(drained.running + drained.waiting, 0);
  EXPECT_EQ(drained.prompt_tokens, 0);
}

TEST(Engine, ChecksItsOptions) {
  const auto create = [](engine::EngineOptions options, int32_t max_rows) {
    return engine::Engine::Create(MakeModel(SmallConfig(), 1, max_rows), nullptr, options)
        .status()
        .code();
  };
  EXPECT_EQ(create({.num_slots = 0}, 1000), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(create({.step_tokens = 0}, 1000), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(create({.num_slots = 10, .step_tokens = 10}, 19), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace fmaserver::testing
