// Which of a sequence's states are kept and for whom, and where the sequence begins.
#include "server/engine/state_keeper.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/engine/engine_fixture.h"

namespace fmaserver::testing {
namespace {

using engine::CacheMiss;
using engine::StateKeeper;

engine::State StateOf(int64_t tokens) {
  return engine::State(std::make_shared<engine::Snapshot>(tokens, 64));
}

class StateKeeperTest : public ::testing::Test {
 protected:
  static engine::GenerateRequest Request(int length) {
    engine::GenerateRequest request;
    for (int i = 0; i < length; ++i) request.prompt.push_back(i % 256);
    return request;
  }

  StateKeeper Keeper(const engine::GenerateRequest& request) {
    return {request, /*archived=*/false, sink_, &cache_, observer_};
  }

  /// Feeds the prompt in the longest slices allowed; returns the positions at which a state was
  /// taken.
  static std::vector<int64_t> Read(const engine::GenerateRequest& request, StateKeeper& keeper) {
    int64_t position = keeper.Begin().tokens();
    const int64_t end = request.state.tokens() + std::ssize(request.prompt);
    std::vector<int64_t> taken;
    while (position < end) {
      position = std::min(end, keeper.NextPoint(position));
      const absl::Status status = keeper.Keep(position, [&] {
        taken.push_back(position);
        return absl::StatusOr<engine::State>(StateOf(position));
      });
      EXPECT_TRUE(status.ok()) << status;
    }
    return taken;
  }

  engine::PrefixCache cache_{int64_t{1} << 20};
  engine::EngineObserver observer_;
  RecordingGenerateSink sink_;
};

TEST_F(StateKeeperTest, NobodyAskedSoNothingIsKept) {
  const engine::GenerateRequest request = Request(9000);
  StateKeeper keeper = Keeper(request);
  EXPECT_TRUE(Read(request, keeper).empty());
  keeper.KeepAnswer({}, []() -> absl::StatusOr<engine::State> {
    ADD_FAILURE() << "copied for nobody";
    return engine::State();
  });
  EXPECT_EQ(cache_.bytes(), 0);
}

TEST_F(StateKeeperTest, AnEqualPromptFindsAllButTheLastToken) {
  engine::GenerateRequest request = Request(300);
  request.cache_scope = "scope";
  StateKeeper first = Keeper(request);
  EXPECT_EQ(Read(request, first), std::vector<int64_t>{299});
  EXPECT_EQ(first.cached(), 0);
  StateKeeper second = Keeper(request);
  EXPECT_EQ(second.Begin().tokens(), 299);
  EXPECT_EQ(second.cached(), 299);
  request.prompt_logprobs = 0;
  EXPECT_EQ(Keeper(request).Begin().slot, nullptr) << "every row's logits are needed";
}

TEST_F(StateKeeperTest, AMissHasAReason) {
  const auto miss = [this](const engine::GenerateRequest& request) {
    StateKeeper keeper = Keeper(request);
    Read(request, keeper);
    return keeper.miss();
  };
  engine::GenerateRequest request = Request(32);
  EXPECT_EQ(miss(request), CacheMiss::kSkipped);
  request.cache_scope = "scope";
  EXPECT_EQ(miss(request), CacheMiss::kShort);
  EXPECT_EQ(miss(request), CacheMiss::kShort) << "as often as it comes";
  request = Request(200);
  request.cache_scope = "scope";
  EXPECT_EQ(miss(request), CacheMiss::kUnseen);
  EXPECT_EQ(miss(request), CacheMiss::kNone);
  request.prompt.resize(100);
  request.prompt.push_back(7);
  EXPECT_EQ(miss(request), CacheMiss::kNotKept);
  request.prompt.back() = 8;
  EXPECT_EQ(miss(request), CacheMiss::kNone) << "the last one left a state where they part";
  request.prompt_logprobs = 0;
  EXPECT_EQ(miss(request), CacheMiss::kSkipped);
  request.state = StateOf(10);
  EXPECT_EQ(miss(request), CacheMiss::kSession);
  request = Request(200);
  request.cache_scope = "scope";
  StateKeeper without(request, /*archived=*/false, sink_, /*cache=*/nullptr, observer_);
  EXPECT_EQ(without.Begin().slot, nullptr);
  EXPECT_EQ(without.miss(), CacheMiss::kOff);
}

TEST_F(StateKeeperTest, APromptThatQuotesTheAnswerFindsIt) {
  engine::GenerateRequest request = Request(100);
  request.cache_scope = "scope";
  StateKeeper keeper = Keeper(request);
  Read(request, keeper);
  const std::vector<int32_t> answer(30, 7);
  keeper.KeepAnswer(answer, [] { return absl::StatusOr<engine::State>(StateOf(129)); });
  request.prompt.insert(request.prompt.end(), answer.begin(), answer.end());
  request.prompt.push_back(1);
  EXPECT_EQ(Keeper(request).Begin().tokens(), 129);
}

TEST_F(StateKeeperTest, ASessionBeginsWithItsStateAndGetsTheNext) {
  engine::GenerateRequest request = Request(5000);
  request.state = StateOf(1000);
  request.keep_state = true;
  request.cache_scope = "scope";
  request.marks = {10};
  StateKeeper keeper = Keeper(request);
  EXPECT_EQ(keeper.Begin().slot, request.state.slot);
  StateKeeper again = Keeper(request);
  EXPECT_EQ(Read(request, again), (std::vector<int64_t>{1010, 4096}));
  ASSERT_EQ(sink_.states.size(), 2U);
  EXPECT_EQ(sink_.states[1].tokens(), 4096);
  again.KeepAnswer({}, []() -> absl::StatusOr<engine::State> {
    ADD_FAILURE() << "the cache has no part in a session's turns";
    return engine::State();
  });
}

TEST_F(StateKeeperTest, SamplesForkWhenOneTokenIsLeft) {
  engine::GenerateRequest request = Request(50);
  request.n = 3;
  StateKeeper keeper = Keeper(request);
  EXPECT_EQ(keeper.Begin().slot, nullptr);
  EXPECT_EQ(keeper.NextPoint(0), 49);
  EXPECT_TRUE(keeper.IsFork(49));
  EXPECT_FALSE(keeper.IsFork(48));
}

TEST_F(StateKeeperTest, AStateThatCannotBeCopiedIsTheSequencesError) {
  engine::GenerateRequest request = Request(300);
  request.cache_scope = "scope";
  StateKeeper keeper = Keeper(request);
  keeper.Begin();
  const auto fails = [] { return absl::StatusOr<engine::State>(absl::UnavailableError("lost")); };
  EXPECT_TRUE(keeper.Keep(298, fails).ok()) << "no point to keep";
  EXPECT_EQ(keeper.Keep(299, fails).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace fmaserver::testing
