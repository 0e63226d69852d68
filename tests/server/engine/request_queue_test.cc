// The queue by itself: its order, its limits, and what its two sides tell each other.
#include "server/engine/request_queue.h"

#include <atomic>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/retry.h"
#include "gtest/gtest.h"

namespace fmaserver::testing {
namespace {

using engine::RequestId;
using engine::RequestQueue;

/// A request that only waits.
class WaitingSequence : public engine::Sequence {
 public:
  WaitingSequence(RequestId id, int32_t priority, int64_t tokens = 1)
      : Sequence(id, priority, Clock::time_point(), 0, engine::SequenceArchive()),
        tokens_(tokens) {}
  bool KeepsUp() const override { return true; }
  int64_t PromptLeft() const override { return tokens_; }
  std::span<const int32_t> Pending() const override { return {}; }
  int32_t LogitsWanted(int32_t) const override { return 0; }
  bool Advance(int32_t, const engine::StepOutcome&) override { return true; }
  void Fail(const absl::Status&) override {}

 private:
  const int64_t tokens_;
};

std::unique_ptr<engine::Sequence> Request(RequestQueue& queue, int32_t priority = 0) {
  return std::make_unique<WaitingSequence>(queue.NextId(), priority);
}

bool Never() { return false; }
bool Always() { return true; }

TEST(RequestQueue, GivesTheMostUrgentFirstAndTheEarliestWithinOnePriority) {
  RequestQueue queue(1, 100);
  std::mt19937 random(1);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(queue.Push(Request(queue, static_cast<int32_t>(random() % 7) - 3)).ok());
  }
  std::pair<int32_t, RequestId> last{-100, 0};
  for (int i = 0; i < 100; ++i) {
    const auto sequence = queue.Pop();
    ASSERT_NE(sequence, nullptr);
    const std::pair key(sequence->priority(), sequence->id());
    EXPECT_LT(last, key);
    last = key;
  }
  EXPECT_EQ(queue.Pop(), nullptr);
}

TEST(RequestQueue, TakesAsManyAsThereAreFreeSlotsAndPlacesToWait) {
  RequestQueue queue(3, 2);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(queue.Push(Request(queue)).ok());
  EXPECT_EQ(queue.Push(Request(queue)).code(), absl::StatusCode::kResourceExhausted);
  for (int i = 0; i < 3; ++i) EXPECT_NE(queue.Pop(), nullptr);
  EXPECT_EQ(queue.Push(Request(queue)).code(), absl::StatusCode::kResourceExhausted);
  queue.SetRunning(2);
  EXPECT_TRUE(queue.Push(Request(queue)).ok());
  EXPECT_EQ(queue.Push(Request(queue)).code(), absl::StatusCode::kResourceExhausted);
}

TEST(RequestQueue, RefusalsHintAtTheTimeForWhichASlotIsHeld) {
  RequestQueue queue(2, 0);
  const auto hint = [&] {
    queue.SetRunning(2);
    const absl::Status refusal = queue.Push(Request(queue));
    EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
    return std::stod(std::string(refusal.GetPayload(kRetryAfterSeconds).value_or(absl::Cord())));
  };
  EXPECT_EQ(hint(), 0.5) << "a second for two slots, until there is better knowledge";
  for (int i = 0; i < 100; ++i) queue.AddServiceTime(8);
  EXPECT_NEAR(hint(), 4, 0.01);
  for (int i = 0; i < 100; ++i) queue.AddServiceTime(1e6);
  EXPECT_EQ(hint(), 60);
  for (int i = 0; i < 1000; ++i) queue.AddServiceTime(0);
  EXPECT_EQ(hint(), 0.1);
}

TEST(RequestQueue, CancelTakesOutWhatWaitsAndNamesTheRest) {
  RequestQueue queue(10, 10);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(queue.Push(Request(queue)).ok());
  queue.Cancel(2);
  queue.Cancel(77);
  const RequestQueue::Orders orders = queue.Await(0, Never);
  EXPECT_EQ(orders.cancelled, (std::vector<RequestId>{2, 77}));
  ASSERT_EQ(orders.dropped.size(), 1U);
  EXPECT_EQ(orders.dropped[0]->id(), 2U);
  EXPECT_FALSE(orders.evict || orders.stop);
  for (const RequestId id : {1, 3, 4}) EXPECT_EQ(queue.Pop()->id(), id);
  EXPECT_TRUE(queue.Await(1, Always).cancelled.empty()) << "told once";
}

TEST(RequestQueue, CancelTakesOutEverySampleOfARequest) {
  RequestQueue queue(10, 10);
  for (int i = 0; i < 3; ++i) queue.Return(std::make_unique<WaitingSequence>(5, 0));
  queue.Cancel(5);
  EXPECT_EQ(queue.Await(0, Never).dropped.size(), 3U);
}

TEST(RequestQueue, ForksAreNeverRefusedAndComeInTheirRequestsPlace) {
  RequestQueue queue(1, 1);
  const WaitingSequence parent(queue.NextId(), 0);
  ASSERT_TRUE(queue.Push(Request(queue)).ok());
  EXPECT_TRUE(queue.IsNext(parent)) << "the other one came later";
  ASSERT_TRUE(queue.Push(Request(queue, -1)).ok());
  EXPECT_FALSE(queue.IsNext(parent)) << "the other one is more urgent";
  queue.Return(std::make_unique<WaitingSequence>(parent.id(), parent.priority()));
  EXPECT_EQ(queue.Pop()->priority(), -1);
  EXPECT_EQ(queue.Pop()->id(), parent.id());
}

TEST(RequestQueue, CountsWhatWaits) {
  RequestQueue queue(4, 10);
  ASSERT_TRUE(queue.Push(std::make_unique<WaitingSequence>(1, 0, 100)).ok());
  ASSERT_TRUE(queue.Push(std::make_unique<WaitingSequence>(2, 0, 20)).ok());
  queue.SetRunning(3);
  const RequestQueue::Counts counts = queue.Count();
  EXPECT_EQ(counts.running, 3);
  EXPECT_EQ(counts.waiting, 2);
  EXPECT_EQ(counts.prompt_tokens, 120);
  EXPECT_FALSE(counts.draining);
}

TEST(RequestQueue, DrainWaitsForTheLoopAndThenHasItEndTheRest) {
  RequestQueue queue(1, 10);
  ASSERT_TRUE(queue.Push(Request(queue)).ok());
  std::atomic<bool> drained = false;
  std::thread drainer([&] {
    queue.Drain(absl::ZeroDuration());
    drained = true;
  });
  RequestQueue::Orders orders;
  while (!orders.evict) orders = queue.Await(1, Always);
  EXPECT_TRUE(queue.Count().draining);
  EXPECT_EQ(orders.dropped.size(), 1U);
  EXPECT_EQ(queue.Push(Request(queue)).code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(drained) << "while the loop has not said that nothing runs";
  std::thread loop([&] { EXPECT_TRUE(queue.Await(0, Never).stop); });
  drainer.join();
  queue.Stop();
  loop.join();
}

/// Every request that is accepted is popped or dropped exactly once, however threads interleave.
TEST(RequestQueue, LosesNothingBetweenManyThreads) {
  constexpr int kThreads = 4;
  constexpr int kRequests = 500;
  RequestQueue queue(8, 16);
  std::atomic<int> accepted = 0;
  std::map<RequestId, int> seen;
  std::thread loop([&] {
    for (;;) {
      const RequestQueue::Orders orders = queue.Await(0, Never);
      if (orders.stop) return;
      for (const auto& sequence : orders.dropped) ++seen[sequence->id()];
      while (const auto sequence = queue.Pop()) ++seen[sequence->id()];
      queue.SetRunning(0);
    }
  });
  std::vector<std::thread> clients;
  for (int thread = 0; thread < kThreads; ++thread) {
    clients.emplace_back([&, thread] {
      std::mt19937 random(thread);
      for (int i = 0; i < kRequests; ++i) {
        auto sequence = Request(queue, static_cast<int32_t>(random() % 3));
        const RequestId id = sequence->id();
        accepted += queue.Push(std::move(sequence)).ok() ? 1 : 0;
        if (random() % 3 == 0) queue.Cancel(id);
        if (random() % 16 == 0) queue.Count();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  queue.Drain(absl::Hours(1));
  queue.Stop();
  loop.join();
  EXPECT_EQ(std::ssize(seen), accepted);
  for (const auto& [id, times] : seen) EXPECT_EQ(times, 1) << id;
}

}  // namespace
}  // namespace fmaserver::testing
