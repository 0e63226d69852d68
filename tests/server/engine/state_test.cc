// States taken out of slots and put back: samples, the prefix cache, sessions, resumption. Whatever
// part of a run is skipped by starting from a state, the rest has the same bits.
#include <algorithm>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/engine/engine_fixture.h"

namespace fmaserver::testing {
namespace {

using Tokens = std::vector<int32_t>;

const engine::EngineOptions kOptions{.num_slots = 3, .max_queue = 200, .step_tokens = 37};

engine::EngineOptions WithoutCache() {
  engine::EngineOptions options = kOptions;
  options.prefix_cache_bytes = 0;
  return options;
}

Tokens Joined(Tokens first, const Tokens& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// By what the far field is made of.
struct FarField {
  const char* name;
  model::ModelConfig (*config)();
};

class StatesTest : public ::testing::TestWithParam<FarField> {
 protected:
  static model::ModelConfig Config() { return GetParam().config(); }
};

INSTANTIATE_TEST_SUITE_P(Models, StatesTest,
                         ::testing::Values(FarField{"Summaries", SmallConfig},
                                           FarField{"Selected", SelectingConfig},
                                           FarField{"Opened", OpeningConfig}),
                         [](const auto& info) { return info.param.name; });

TEST_P(StatesTest, SamplesEqualSoloRunsWithFollowingSeeds) {
  const auto engine = MakeEngine(kOptions, Config());
  const auto cold = MakeEngine(WithoutCache(), Config());
  for (const int length : {1, 2, 31, 33, 100, 300}) {
    for (const bool cached : {true, false}) {
      engine::GenerateRequest request = Prompt(length, 25, 40 + length);
      request.sampling.repetition_penalty = 1.2F;
      if (cached) request.cache_scope = "";
      const engine::GenerateRequest solo = request;
      request.n = 8;
      const auto sink = std::make_shared<SamplesSink>(8);
      ASSERT_TRUE(engine->Submit(request, sink).ok());
      ASSERT_TRUE(sink->Wait());
      ASSERT_TRUE(sink->status.ok()) << sink->status;
      for (int i = 0; i < 8; ++i) {
        engine::GenerateRequest one = solo;
        *one.sampling.seed += i;
        const auto expected = Complete(*cold, one);
        EXPECT_EQ(sink->tokens[i], expected->tokens) << "sample " << i << " of " << length;
        EXPECT_EQ(sink->logprobs[i], expected->logprobs);
        EXPECT_EQ(sink->usages[i].prompt_tokens, length);
      }
    }
  }
}

TEST(Samples, CancelEndsAllOfThem) {
  const auto engine = MakeEngine(kOptions);
  std::mt19937 random(1);
  for (int i = 0; i < 100; ++i) {
    engine::GenerateRequest request = Prompt(50, 1'000'000, 1);
    request.n = 5;
    const auto sink = std::make_shared<SamplesSink>(5);
    const auto id = engine->Submit(request, sink);
    ASSERT_TRUE(id.ok()) << id.status();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
    engine->Cancel(*id);
    ASSERT_TRUE(sink->Wait());
  }
  EXPECT_TRUE(Complete(*engine, Prompt(3, 3, 1))->status.ok());
  engine->Drain(absl::Seconds(5));
  EXPECT_EQ(engine->FreeSlots(), kOptions.num_slots);
}

TEST_P(StatesTest, WarmEqualsColdForEveryLengthAndSharedPart) {
  const auto warm = MakeEngine(kOptions, Config());
  const auto cold = MakeEngine(WithoutCache(), Config());
  std::mt19937 random(5);
  std::vector<Tokens> earlier;
  int64_t cached = 0;
  for (int i = 0; i < 150; ++i) {
    engine::GenerateRequest request = Prompt(1 + static_cast<int>(random() % 250), 12, i);
    if (!earlier.empty() && random() % 3 != 0) {
      const Tokens& base = earlier[random() % earlier.size()];
      const auto shared = static_cast<int64_t>(random() % (base.size() + 1));
      request.prompt = Joined({base.begin(), base.begin() + shared}, request.prompt);
    }
    if (random() % 4 == 0) request.marks = {1 + std::ssize(request.prompt) / 2};
    request.cache_scope = "scope";
    for (int again = 0; again < 2; ++again) {
      const auto hot = Complete(*warm, request);
      const auto expected = Complete(*cold, request);
      ASSERT_EQ(hot->tokens, expected->tokens);
      ASSERT_EQ(hot->logprobs, expected->logprobs);
      const int64_t found = hot->finish.usage.cached_tokens;
      ASSERT_LT(found, std::ssize(request.prompt));
      if (again == 1) {
        constexpr auto kBlock = static_cast<int64_t>(engine::PrefixCache::kBlock);
        ASSERT_GE(found, std::ssize(request.prompt) - 1 - kBlock) << "the same prompt again";
      }
      ASSERT_EQ(expected->finish.usage.cached_tokens, 0);
      cached += found;
      if (again == 1) earlier.push_back(Joined(request.prompt, hot->tokens));
    }
  }
  EXPECT_GT(cached, 10'000);
}

TEST(PrefixReuse, AnswersAndMarksAreFoundAgainAndScopesAreApart) {
  const auto engine = MakeEngine(kOptions);
  engine::GenerateRequest request = Prompt(100, 30, 1);
  request.cache_scope = "mine";
  request.marks = {70};
  const auto first = Complete(*engine, request);
  engine::GenerateRequest next = request;
  next.prompt = Joined(Joined(request.prompt, first->tokens), {1, 2, 3});
  EXPECT_EQ(Complete(*engine, next)->finish.usage.cached_tokens, 129) << "all that was fed";
  engine::GenerateRequest parted = request;
  parted.prompt.resize(71);
  parted.prompt.back() += 1;
  parted.marks.clear();
  EXPECT_EQ(Complete(*engine, parted)->finish.usage.cached_tokens, 70) << "the mark";
  request.cache_scope = "yours";
  EXPECT_EQ(Complete(*engine, request)->finish.usage.cached_tokens, 0);
}

TEST_P(StatesTest, TurnsEqualOneRun) {
  const auto engine = MakeEngine(kOptions, Config());
  std::mt19937 random(3);
  for (int conversation = 0; conversation < 30; ++conversation) {
    engine::State state;
    Tokens all;
    for (int turn = 0; turn < 6; ++turn) {
      engine::GenerateRequest request = Prompt(1 + static_cast<int>(random() % 80),
                                               static_cast<int64_t>(random() % 40), random());
      request.keep_state = true;
      const Tokens pending(all.begin() + state.tokens(), all.end());
      all = Joined(all, request.prompt);
      engine::GenerateRequest whole = request;
      whole.prompt = all;
      request.pending = std::ssize(pending);
      request.prompt = Joined(pending, request.prompt);
      request.state = state;
      const auto sink = Complete(*engine, request);
      ASSERT_TRUE(sink->status.ok()) << sink->status;
      EXPECT_EQ(sink->finish.usage.prompt_tokens, std::ssize(request.prompt) - request.pending);
      if (request.max_tokens > 0) {
        const auto expected = Complete(*engine, whole);
        ASSERT_EQ(sink->tokens, expected->tokens);
        ASSERT_EQ(sink->logprobs, expected->logprobs);
      }
      EXPECT_EQ(sink->finish.kept.generated, sink->tokens);
      all = Joined(all, sink->tokens);
      state = sink->finish.kept.state;
      EXPECT_EQ(state.tokens(), std::ssize(all) - 1) << "all but the last token";
    }
  }
}

TEST(KeptState, MarksAndRegularPointsAreReported) {
  const auto engine = MakeEngine(kOptions);
  engine::GenerateRequest request = Prompt(9000, 10, 1);
  request.keep_state = true;
  request.marks = {5, 5000, 9000};
  const auto sink = Complete(*engine, request);
  std::vector<int64_t> counts;
  for (const engine::State& state : sink->states) counts.push_back(state.tokens());
  EXPECT_EQ(counts, (std::vector<int64_t>{5, 4096, 5000, 8192, 9000}));
}

TEST_P(StatesTest, AnInterruptedRunGoesOnWhereItWas) {
  const auto engine = MakeEngine(kOptions, Config());
  std::mt19937 random(4);
  const int rounds = Config().attention.Opens() ? 5 : 40;  // each takes ten times as long
  for (int i = 0; i < rounds; ++i) {
    engine::GenerateRequest request = Prompt(1 + static_cast<int>(random() % 3000), 2000, i);
    request.keep_state = true;
    request.sampling.frequency_penalty = 0.5F;
    request.sampling.repetition_penalty = 1.1F;
    request.stop = {"\x01\x02", "q"};
    const auto expected = Complete(*engine, request);
    ASSERT_TRUE(expected->status.ok());
    const auto cut = std::make_shared<RecordingGenerateSink>();
    {
      const auto other = MakeEngine(kOptions, Config());
      ASSERT_TRUE(other->Submit(request, cut).ok());
      other->Drain(absl::Microseconds(random() % 30'000));
    }
    ASSERT_TRUE(cut->Wait());
    if (!cut->interrupted) {
      ASSERT_EQ(cut->tokens, expected->tokens);
      continue;
    }
    const engine::Kept& kept = *cut->interrupted;
    ASSERT_EQ(kept.generated, cut->tokens);
    const Tokens all = Joined(request.prompt, kept.generated);
    engine::GenerateRequest rest = request;
    rest.sampling.seed = cut->seed;
    rest.state = kept.state;
    rest.prompt.assign(all.begin() + kept.state.tokens(), all.end());
    rest.pending = std::ssize(rest.prompt);
    rest.generated = kept.generated;
    rest.penalty_context = request.prompt;
    const auto sink = Complete(*engine, rest);
    ASSERT_TRUE(sink->status.ok()) << sink->status;
    ASSERT_EQ(Joined(kept.generated, sink->tokens), expected->tokens);
    EXPECT_EQ(cut->text + sink->text, expected->text);
    EXPECT_EQ(sink->finish.reason, expected->finish.reason);
    EXPECT_EQ(sink->finish.usage.generated_tokens, expected->finish.usage.generated_tokens);
  }
}

TEST(PromptScores, EqualScoreAndComeBeforeTheOutput) {
  const auto engine = MakeEngine(kOptions);
  engine::GenerateRequest request = Prompt(100, 5, 1);
  request.cache_scope = "";
  request.echo = true;
  const auto echoed = Complete(*engine, request);
  Complete(*engine, request);
  const auto again = Complete(*engine, request);
  EXPECT_GT(again->finish.usage.cached_tokens, 0);
  for (const auto& sink : {echoed, again}) {
    ASSERT_EQ(sink->prompt.size(), 100U);
    for (size_t i = 0; i < 100; ++i) EXPECT_EQ(sink->prompt[i].token, request.prompt[i]);
  }
  request.prompt_logprobs = 2;
  const auto scored = Complete(*engine, request);
  const auto score = std::make_shared<RecordingScoreSink>();
  ASSERT_TRUE(engine->Submit(engine::ScoreRequest{request.prompt, 2}, score).ok());
  ASSERT_TRUE(score->Wait());
  ASSERT_EQ(scored->prompt.size(), 100U);
  for (size_t i = 0; i < 100; ++i) {
    EXPECT_EQ(scored->prompt[i].token, score->scores[i].token);
    EXPECT_EQ(scored->prompt[i].logprob, score->scores[i].logprob);
    ASSERT_EQ(scored->prompt[i].top.size(), i == 0 ? 0U : 2U);
  }
  EXPECT_EQ(scored->tokens, echoed->tokens);
}

}  // namespace
}  // namespace fmaserver::testing
