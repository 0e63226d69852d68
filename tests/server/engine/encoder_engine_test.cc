// The engine of encoders: batches, lanes, memory, ends, and what is refused.
#include "server/engine/encoder_engine.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/text.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "server/engine/sampler.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using Text = std::vector<int32_t>;
using Texts = std::vector<Text>;

constexpr int32_t kMask = 259;

model::ModelConfig MaskedConfig(bool by_share = true) {
  model::ModelConfig config = SmallConfig();
  config.attention.causal = false;
  config.attention.query_downsampling = by_share;
  config.attention.hierarchy.sink_tokens = 0;
  config.attention.padding = kernels::Padding::kMasked;
  config.mask_token_id = kMask;
  return config;
}

std::unique_ptr<engine::Encoder> LoadEncoder(const model::ModelConfig& config) {
  const TempFolder folder;
  EXPECT_TRUE(WriteRandomCheckpoint(config, 1, kernels::WeightFormat::kF32, folder.path()).ok());
  const auto checkpoint = model::Checkpoint::Open(folder.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  auto encoder = engine::Encoder::Load(*checkpoint, *kernels::MakeCpuBackend(2), {});
  EXPECT_TRUE(encoder.ok()) << encoder.status();
  return *std::move(encoder);
}

/// Counts steps, and tells whoever waits for one.
class StepCounter final : public engine::EngineObserver {
 public:
  void OnStep(const engine::StepReport& step) override {
    const std::lock_guard lock(mutex_);
    ++steps_;
    tokens_ += step.prompt_tokens;
    changed_.notify_all();
  }
  void OnEnd(const engine::EndReport& end) override {
    const std::lock_guard lock(mutex_);
    ends_.push_back(end);
  }
  void OnRejected(engine::Rejection why) override { rejections.push_back(why); }

  void AwaitStep() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return steps_ > 0; });
  }
  int64_t tokens() {
    const std::lock_guard lock(mutex_);
    return tokens_;
  }
  std::vector<engine::EndReport> ends() {
    const std::lock_guard lock(mutex_);
    return ends_;
  }

  std::vector<engine::Rejection> rejections;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t steps_ = 0;
  int64_t tokens_ = 0;  // of texts that are done
  std::vector<engine::EndReport> ends_;
};

class EncodeRecorder final : public engine::EncodeSink, public Recorder {
 public:
  bool KeepsUp() const override { return keeps_up; }
  void OnEncoded(engine::EncodedText text) override { texts.push_back(std::move(text)); }
  void OnFinish(const engine::Usage& its_usage) override {
    usage = its_usage;
    ended = Clock::now();
    End(std::nullopt);
  }
  void OnError(const absl::Status& error, const engine::Usage&) override { End(error); }

  /// In the order of the request.
  std::vector<engine::EncodedText> InOrder() const {
    std::vector<engine::EncodedText> sorted = texts;
    std::ranges::sort(sorted, {}, &engine::EncodedText::index);
    return sorted;
  }

  std::atomic<bool> keeps_up = true;
  Clock::time_point ended;
  std::vector<engine::EncodedText> texts;
  engine::Usage usage;
};

class EncoderEngineTest : public ::testing::Test {
 protected:
  EncoderEngineTest() { Create({.num_slots = 8, .max_queue = 8}); }

  void Create(const engine::EngineOptions& options) {
    auto engine = engine::EncoderEngine::Create(LoadEncoder(MaskedConfig()),
                                                model::MakeByteTokenizer(260), options, counter_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }

  std::shared_ptr<EncodeRecorder> Start(Texts texts, int32_t candidates = 0) {
    auto sink = std::make_shared<EncodeRecorder>();
    const auto id = engine_->Submit({.texts = std::move(texts), .candidates = candidates}, sink);
    EXPECT_TRUE(id.ok()) << id.status();
    id_ = id.value_or(0);
    return sink;
  }
  std::shared_ptr<EncodeRecorder> Run(Texts texts, int32_t candidates = 0) {
    auto sink = Start(std::move(texts), candidates);
    EXPECT_TRUE(sink->Wait());
    return sink;
  }
  absl::Status Refused(Texts texts, int32_t candidates = 0) {
    return engine_
        ->Submit({.texts = std::move(texts), .candidates = candidates},
                 std::make_shared<EncodeRecorder>())
        .status();
  }

  static Text RandomText(int64_t length, uint32_t seed) {
    std::mt19937 random(seed);
    Text text(static_cast<size_t>(length));
    for (int32_t& token : text) token = static_cast<int32_t>(random() % 256);
    return text;
  }

  const std::shared_ptr<StepCounter> counter_ = std::make_shared<StepCounter>();
  std::unique_ptr<engine::EncoderEngine> engine_;
  engine::RequestId id_ = 0;  // of the newest request
};

TEST_F(EncoderEngineTest, WhoeverElseIsReadChangesNoBit) {
  Texts texts;
  for (const int64_t length : {1, 130, 7, 2048, 2049, 5000, 64}) {
    texts.push_back(RandomText(length, static_cast<uint32_t>(length)));
  }
  std::vector<std::shared_ptr<EncodeRecorder>> together;
  for (int i = 0; i < 3; ++i) together.push_back(Start(texts));
  for (const auto& sink : together) {
    ASSERT_TRUE(sink->Wait());
    ASSERT_TRUE(sink->status.ok()) << sink->status;
    ASSERT_EQ(sink->texts.size(), texts.size());
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto alone = Run({texts[i]});
    ASSERT_EQ(alone->texts.size(), 1U);
    for (const auto& sink : together) {
      const engine::EncodedText found = sink->InOrder()[i];
      EXPECT_EQ(found.index, static_cast<int64_t>(i));
      EXPECT_EQ(found.tokens, std::ssize(texts[i]));
      EXPECT_EQ(found.embedding, alone->texts[0].embedding);
    }
  }
}

TEST_F(EncoderEngineTest, MasksGetTheMostLikelyTokensOfTheirRow) {
  Text text = RandomText(100, 3);
  text[7] = kMask;
  text[99] = kMask;
  const auto sink = Run({text, {kMask}}, 3);
  ASSERT_TRUE(sink->status.ok()) << sink->status;
  const auto encoder = LoadEncoder(MaskedConfig());
  const std::vector<std::span<const int32_t>> views = {text};
  const auto encoding = encoder->Encode(views);
  ASSERT_TRUE(encoding.ok());
  const std::vector<engine::FilledMask> masks = sink->InOrder()[0].masks;
  ASSERT_EQ(masks.size(), 2U);
  for (const engine::FilledMask& mask : masks) {
    const auto logits = encoder->Logits(*encoding, {{static_cast<int32_t>(mask.position)}});
    ASSERT_TRUE(logits.ok());
    const auto expected = engine::LogProbabilities(*logits).Top(3);
    ASSERT_EQ(mask.candidates.size(), 3U);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(mask.candidates[i].token, expected[i].token);
      EXPECT_EQ(mask.candidates[i].value, expected[i].value);
    }
  }
  EXPECT_EQ(masks[0].position, 7);
  EXPECT_EQ(masks[1].position, 99);
  EXPECT_EQ(sink->InOrder()[1].masks.size(), 1U);
  EXPECT_TRUE(sink->InOrder()[0].embedding.empty());
}

TEST_F(EncoderEngineTest, AShortTextOvertakesALongOne) {
  const auto long_one = Start({RandomText(100'000, 1)});
  counter_->AwaitStep();
  const auto short_one = Start({RandomText(100, 2)});
  ASSERT_TRUE(long_one->Wait());
  ASSERT_TRUE(short_one->Wait());
  EXPECT_LT(short_one->ended, long_one->ended);
  engine_.reset();  // a step is counted after its texts are told
  EXPECT_EQ(counter_->tokens(), 100'100);
}

TEST_F(EncoderEngineTest, ACancelledTextIsNotReadToItsEnd) {
  const auto sink = Start({RandomText(100'000, 1), RandomText(10, 2)});
  counter_->AwaitStep();
  engine_->Cancel(id_);
  ASSERT_TRUE(sink->Wait());
  EXPECT_TRUE(absl::IsCancelled(sink->status));
  EXPECT_TRUE(Run({RandomText(10, 2)})->status.ok());
  EXPECT_LT(counter_->tokens(), 100'000);
  ASSERT_EQ(counter_->ends().size(), 2U);
  EXPECT_EQ(counter_->ends()[0].code, absl::StatusCode::kCancelled);
}

TEST_F(EncoderEngineTest, DrainingEndsWhatIsNotDone) {
  const auto sink = Start({RandomText(100'000, 1)});
  counter_->AwaitStep();
  engine_->Drain(absl::ZeroDuration());
  ASSERT_TRUE(sink->Wait());
  EXPECT_TRUE(absl::IsUnavailable(sink->status));
  EXPECT_TRUE(absl::IsUnavailable(Refused({{1}})));
  EXPECT_TRUE(absl::IsUnavailable(engine_->CheckAdmission()));
  EXPECT_TRUE(engine_->Load().draining);
}

TEST_F(EncoderEngineTest, AReaderThatIsBehindStopsItselfAlone) {
  Create({.num_slots = 8, .max_queue = 8, .max_stall_seconds = 0.05});
  auto slow = std::make_shared<EncodeRecorder>();
  slow->keeps_up = false;
  ASSERT_TRUE(engine_->Submit({.texts = {{1, 2}}}, slow).ok());
  EXPECT_TRUE(Run({{1, 2, 3}})->status.ok());
  ASSERT_TRUE(slow->Wait());
  EXPECT_TRUE(absl::IsResourceExhausted(slow->status)) << slow->status;
  EXPECT_TRUE(slow->texts.empty());
}

TEST_F(EncoderEngineTest, MemoryIsKnownBefore) {
  const auto encoder = LoadEncoder(MaskedConfig());
  const auto bytes = [&](int64_t tokens) { return encoder->BytesFor({&tokens, 1}); };
  const int64_t batch = bytes(engine::EncoderEngine::kBatchTokens);
  Create({.num_slots = 8, .max_queue = 8, .encoder_bytes = bytes(10'000) + batch});
  EXPECT_EQ(engine_->MaxTokens(), 10'000);
  EXPECT_TRUE(Run({RandomText(10'000, 1)})->status.ok());
  ExpectRefusal(Refused({{1}, RandomText(10'001, 1)}),
                {"inputs[1] is 10001 tokens", "up to 10000", "--encoder-memory"});
  const auto too_little = engine::EncoderEngine::Create(LoadEncoder(MaskedConfig()), nullptr,
                                                        {.encoder_bytes = 2 * batch - 1});
  ExpectRefusal(too_little.status(), {"encoder_bytes is", Concat(2 * batch, " or more")});
}

TEST_F(EncoderEngineTest, RefusalsNameWhatIsWrong) {
  ExpectRefusal(Refused({}), {"inputs is 0 texts", "1 to 2048"});
  ExpectRefusal(Refused(Texts(2049, Text{1})), {"inputs is 2049 texts"});
  ExpectRefusal(Refused({{1}, {}}), {"inputs[1] is empty"});
  ExpectRefusal(Refused({{1, 260}}), {"inputs[0][1] is 260", "0 to 259"});
  ExpectRefusal(Refused({{kMask}, {1}}, 1), {"inputs[1] is a text without a mask"});
  ExpectRefusal(Refused({Text(1025, kMask)}, 1), {"masks is 1025", "1 to 1024"});
  ExpectRefusal(Refused({{kMask}}, 101), {"candidates is 101", "1 to 100"});
  EXPECT_EQ(counter_->rejections.size(), 7U);
}

TEST_F(EncoderEngineTest, MoreThanMayWaitIsRefused) {
  Create({.num_slots = 1, .max_queue = 1});
  const auto first = Start({RandomText(50'000, 1)});
  const auto second = Start({{1}});
  const absl::Status third = Refused({{1}});
  EXPECT_TRUE(absl::IsResourceExhausted(third)) << third;
  EXPECT_TRUE(first->Wait());
  EXPECT_TRUE(second->Wait());
}

}  // namespace
}  // namespace fmaserver::testing
