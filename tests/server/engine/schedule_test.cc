// Which request is served when: priorities, readers that are behind, the hint in a refusal.
#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/engine/engine_fixture.h"

namespace fmaserver::testing {
namespace {

/// Records the order in which requests end.
class OrderSink : public RecordingGenerateSink {
 public:
  OrderSink(std::vector<int>& order, std::mutex& mutex, int name)
      : order_(order), mutex_(mutex), name_(name) {}
  void OnFinish(engine::Finished how) override {
    {
      const std::lock_guard lock(mutex_);
      order_.push_back(name_);
    }
    RecordingGenerateSink::OnFinish(std::move(how));
  }

 private:
  std::vector<int>& order_;
  std::mutex& mutex_;
  const int name_;
};

TEST(Priority, DecidesTheOrderOfTheQueueAndArrivalWithinOne) {
  const auto engine = MakeEngine({.num_slots = 1, .max_queue = 100, .step_tokens = 16});
  auto blocker = std::make_shared<RecordingGenerateSink>();
  const auto id = engine->Submit(Prompt(1'000'000, 1, 1), blocker);
  ASSERT_TRUE(id.ok());
  std::vector<int> order;
  std::mutex mutex;
  std::vector<std::shared_ptr<OrderSink>> sinks;
  for (const int name : {50, 10, 30, 11, 51, 31}) {
    engine::GenerateRequest request = Prompt(5, 5, 1);
    request.priority = name / 10 - 3;
    sinks.push_back(std::make_shared<OrderSink>(order, mutex, name));
    ASSERT_TRUE(engine->Submit(request, sinks.back()).ok());
  }
  engine->Cancel(*id);
  for (const auto& sink : sinks) ASSERT_TRUE(sink->Wait());
  EXPECT_EQ(order, (std::vector<int>{10, 11, 30, 31, 50, 51}));
}

TEST(Priority, TakesTheStepsTokensFirst) {
  const auto engine = MakeEngine({.num_slots = 2, .max_queue = 4, .step_tokens = 8});
  engine::GenerateRequest lazy = Prompt(2'000'000, 1, 1);
  lazy.priority = 5;
  auto slow = std::make_shared<RecordingGenerateSink>();
  const auto id = engine->Submit(lazy, slow);
  ASSERT_TRUE(id.ok());
  const auto quick = Complete(*engine, Prompt(800, 1, 2));
  EXPECT_EQ(quick->progress.size(), 100U) << "every step's eight tokens";
  engine->Cancel(*id);
  ASSERT_TRUE(slow->Wait());
}

/// A reader that can be stopped.
class GatedSink : public RecordingGenerateSink {
 public:
  bool KeepsUp() const override { return open; }
  void OnDelta(engine::Delta delta) override {
    RecordingGenerateSink::OnDelta(std::move(delta));
    ++deltas;
    if (deltas == stop_after) open = false;
  }
  std::atomic<bool> open = true;
  std::atomic<int> deltas = 0;
  int stop_after = -1;
};

TEST(SlowReader, PausesOnlyItself) {
  const auto engine = MakeEngine({.num_slots = 2, .max_queue = 4, .step_tokens = 16});
  const auto expected = Complete(*engine, Prompt(10, 50, 1));
  const auto slow = std::make_shared<GatedSink>();
  slow->stop_after = 5;
  ASSERT_TRUE(engine->Submit(Prompt(10, 50, 1), slow).ok());
  while (slow->open) std::this_thread::yield();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Complete(*engine, Prompt(10, 50, i))->status.ok());
  EXPECT_EQ(slow->deltas, 5);
  slow->open = true;
  engine->Wake();
  ASSERT_TRUE(slow->Wait());
  EXPECT_EQ(slow->tokens, expected->tokens);
}

TEST(SlowReader, LosesItsRequestInTheEnd) {
  engine::EngineOptions options{.num_slots = 1, .max_queue = 4, .step_tokens = 16};
  options.max_stall_seconds = 0.05;
  const auto engine = MakeEngine(options);
  const auto slow = std::make_shared<GatedSink>();
  slow->stop_after = 5;
  ASSERT_TRUE(engine->Submit(Prompt(10, 50, 1), slow).ok());
  ASSERT_TRUE(slow->Wait());
  EXPECT_EQ(slow->status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Complete(*engine, Prompt(10, 5, 1))->status.ok());
}

TEST(Refusal, SaysWhenToTryAgain) {
  const auto engine = MakeEngine({.num_slots = 1, .max_queue = 0, .step_tokens = 16});
  auto first = std::make_shared<RecordingGenerateSink>();
  const auto id = engine->Submit(Prompt(1'000'000, 1, 1), first);
  ASSERT_TRUE(id.ok());
  const auto refused =
      engine->Submit(Prompt(1, 1, 1), std::make_shared<RecordingGenerateSink>()).status();
  ASSERT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  const auto hint = refused.GetPayload(kRetryAfterSeconds);
  ASSERT_TRUE(hint.has_value());
  const double seconds = std::stod(std::string(*hint));
  EXPECT_GE(seconds, 0.1);
  EXPECT_LE(seconds, 60);
  engine->Cancel(*id);
  ASSERT_TRUE(first->Wait());
}

}  // namespace
}  // namespace fmaserver::testing
