// Where the tokens of a step are chosen, and what is copied to the host for it, on the CUDA backend
// over the block emulator, which counts the bytes.
#include "server/engine/step_runner.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "model_loader/checkpoint.h"
#include "server/engine/engine.h"
#include "server/engine/generate_sequence.h"
#include "server/engine/score_sequence.h"
#include "server/engine/validate.h"
#include "tests/emulator/emulator.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using engine::StepRunner;
using kernels::cuda::emulator::BytesToHost;

std::unique_ptr<engine::Model> EmulatedModel(int32_t max_rows) {
  const TempFolder folder;
  EXPECT_TRUE(
      WriteRandomCheckpoint(SmallConfig(), 3, kernels::WeightFormat::kF32, folder.path()).ok());
  const auto checkpoint = model::Checkpoint::Open(folder.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  auto model =
      engine::Model::Load(*checkpoint, *kernels::cuda::MakeCudaBackend(0), {.max_rows = max_rows});
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

/// Sequences without an engine: each test composes the steps itself.
class StepRunnerTest : public ::testing::Test {
 protected:
  std::unique_ptr<engine::Sequence> Generate(engine::GenerateRequest request) {
    auto valid = std::make_shared<const engine::ValidGenerateRequest>(
        *engine::Validate(std::move(request), model_->config()));
    return Started(std::make_unique<engine::GenerateSequence>(
        1, std::move(valid), std::make_shared<RecordingGenerateSink>(), context_,
        engine::SequenceArchive()));
  }
  std::unique_ptr<engine::Sequence> Score(std::vector<int32_t> tokens) {
    return Started(std::make_unique<engine::ScoreSequence>(
        2, *engine::Validate(engine::ScoreRequest{std::move(tokens), 0}, model_->config()),
        std::make_shared<RecordingScoreSink>(), observer_, engine::SequenceArchive()));
  }

  /// The bytes that are copied to the host for a step with these feeds.
  int64_t BytesOf(const std::vector<StepRunner::Feed>& feeds) {
    const int64_t before = BytesToHost();
    const auto outcomes = runner_.Run(feeds);
    EXPECT_TRUE(outcomes.ok()) << outcomes.status();
    if (outcomes.ok()) outcomes_.assign(outcomes->begin(), outcomes->end());
    return BytesToHost() - before;
  }

  const int64_t logits_bytes_ = SmallConfig().vocab_size * static_cast<int64_t>(sizeof(float));
  const std::unique_ptr<engine::Model> model_ = EmulatedModel(32);
  engine::EngineObserver observer_;
  const engine::SequenceContext context_{
      .config = model_->config(), .tokenizer = nullptr, .cache = nullptr, .observer = &observer_};
  const std::unique_ptr<engine::SlotPool> pool_ =
      *engine::SlotPool::Create(model_->backend(), model_->layout(), 8);
  StepRunner runner_{*model_};
  std::vector<engine::StepOutcome> outcomes_;

 private:
  template <typename Kind>
  std::unique_ptr<engine::Sequence> Started(std::unique_ptr<Kind> sequence) {
    EXPECT_TRUE(sequence->Start(pool_->Acquire()));
    return sequence;
  }
};

TEST_F(StepRunnerTest, OnlyTheLogitsOfThoseThatWantThemComeToTheHost) {
  const auto score = Score({1, 2, 3, 4, 5});
  const auto first = Generate(Prompt(3, 9, 1));
  engine::GenerateRequest scored = Prompt(4, 9, 2);
  scored.prompt_logprobs = 0;
  const auto echo = Generate(scored);
  const auto second = Generate(Prompt(6, 9, 3));
  const auto reading = Generate(Prompt(6, 9, 4));
  const std::vector<StepRunner::Feed> feeds = {
      {score.get(), 5}, {first.get(), 3}, {echo.get(), 4}, {second.get(), 6}, {reading.get(), 2}};
  constexpr auto kChosenBytes = static_cast<int64_t>(sizeof(kernels::TokenValue));
  EXPECT_EQ(BytesOf(feeds), (5 + 4) * logits_bytes_ + 2 * kChosenBytes);

  const auto vocab = static_cast<size_t>(SmallConfig().vocab_size);
  EXPECT_EQ(outcomes_[0].logits.size(), 5 * vocab);
  EXPECT_EQ(outcomes_[2].logits.size(), 4 * vocab);
  for (const size_t i : {0, 2, 4}) EXPECT_EQ(outcomes_[i].chosen, nullptr);
  for (const size_t i : {1, 3}) {
    ASSERT_NE(outcomes_[i].chosen, nullptr);
    EXPECT_TRUE(outcomes_[i].logits.empty());
  }
  EXPECT_TRUE(outcomes_[4].logits.empty()) << "the middle of a prompt leads to nothing";
}

TEST_F(StepRunnerTest, EachGetsItsOwnOutcomeInWhateverOrder) {
  const auto score = Score({7, 8, 9});
  const auto alone = Generate(Prompt(3, 9, 1));
  BytesOf({{score.get(), 3}});
  const std::vector<float> scores(outcomes_[0].logits.begin(), outcomes_[0].logits.end());
  BytesOf({{alone.get(), 3}});
  const kernels::SampledRow chosen = *outcomes_[0].chosen;
  for (const bool score_first : {true, false}) {
    const auto again = Score({7, 8, 9});
    const auto same = Generate(Prompt(3, 9, 1));
    const auto other = Generate(Prompt(2, 9, 2));
    std::vector<StepRunner::Feed> feeds = {{same.get(), 3}, {other.get(), 2}};
    feeds.insert(score_first ? feeds.begin() : feeds.end(), {again.get(), 3});
    BytesOf(feeds);
    const engine::StepOutcome& scored = outcomes_[score_first ? 0 : 2];
    const engine::StepOutcome& drawn = outcomes_[score_first ? 1 : 0];
    ASSERT_EQ(scored.logits.size(), scores.size());
    for (size_t k = 0; k < scores.size(); ++k) ASSERT_NEAR(scored.logits[k], scores[k], 1e-4);
    ASSERT_NE(drawn.chosen, nullptr);
    EXPECT_EQ(drawn.chosen->token, chosen.token);
    EXPECT_NEAR(drawn.chosen->logprob, chosen.logprob, 1e-4);
  }
}

/// One caller's scores do not affect the others: their tokens are still chosen where the logits
/// are.
TEST(Engine, OneCallersLogitsDoNotSlowTheOthers) {
  const engine::EngineOptions kOptions{.num_slots = 3, .max_queue = 20, .step_tokens = 2};
  const auto engine =
      engine::Engine::Create(EmulatedModel(engine::Engine::MaxRows(kOptions)), nullptr, kOptions);
  ASSERT_TRUE(engine.ok()) << engine.status();
  engine::GenerateRequest request = Prompt(2, 12, 5);
  request.sampling.temperature = 0.8F;
  const int64_t begin = BytesToHost();
  const auto alone = Complete(**engine, request);
  const int64_t alone_bytes = BytesToHost() - begin;

  constexpr int kScored = 16;
  const auto score = std::make_shared<RecordingScoreSink>();
  ASSERT_TRUE((*engine)->Submit(engine::ScoreRequest{Prompt(kScored, 1, 9).prompt, 0}, score).ok());
  const int64_t before = BytesToHost();
  const auto beside = Complete(**engine, request);
  ASSERT_TRUE(score->Wait());
  EXPECT_EQ(beside->tokens, alone->tokens);
  ASSERT_EQ(beside->logprobs.size(), alone->logprobs.size());
  for (size_t i = 0; i < alone->logprobs.size(); ++i) {
    EXPECT_NEAR(beside->logprobs[i], alone->logprobs[i], 1e-4);
  }
  const int64_t logits_bytes = SmallConfig().vocab_size * static_cast<int64_t>(sizeof(float));
  EXPECT_LE(BytesToHost() - before, kScored * logits_bytes + 2 * alone_bytes);
  EXPECT_LT(2 * alone_bytes, logits_bytes) << "so that a single copy would be seen";
}

}  // namespace
}  // namespace fmaserver::testing
