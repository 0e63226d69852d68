#include "server/service/scoring.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "tests/server/service/service_fixture.h"

namespace fmaserver::testing {
namespace {

using Door = FakeDoor<service::ScoreEvent>;

class ScoringTest : public ::testing::Test {
 protected:
  std::shared_ptr<service::Scoring> Start(const std::string& text,
                                          const std::shared_ptr<Door>& door) {
    return service::Scoring::Start(*service_, service_.model(), service_.Begin(service::kScore),
                                   door, text.size(), [text] {
                                     service::ScoreRequest request;
                                     request.text.text = text;
                                     request.top_logprobs = 2;
                                     return absl::StatusOr<service::ScoreRequest>(request);
                                   });
  }

  TestService service_;
};

TEST_F(ScoringTest, ScoresEveryTokenInOrderWhateverTheReadersPace) {
  const std::string text(5000, 'q');
  for (const int microseconds : {0, 2000}) {
    const auto door = std::make_shared<Door>();
    const auto call = Start(text, door);
    EXPECT_TRUE(door->Run(*call, std::chrono::microseconds(microseconds)).ok());
    size_t tokens = 0;
    double total = 0;
    for (const service::ScoreEvent& event : door->events()) {
      if (const auto* scores = std::get_if<service::Scores>(&event)) {
        tokens += scores->tokens.size();
        for (const engine::TokenScore& score : scores->tokens) total += score.logprob.value_or(0);
      }
    }
    EXPECT_EQ(tokens, text.size());
    const auto* summary = std::get_if<service::ScoreSummary>(&door->events().back());
    ASSERT_NE(summary, nullptr);
    EXPECT_EQ(summary->scored_tokens, 4999);
    EXPECT_DOUBLE_EQ(summary->total_logprob, total);
  }
}

TEST_F(ScoringTest, AReaderWhoLeavesFreesTheSlot) {
  const auto door = std::make_shared<Door>();
  const auto call = Start(std::string(200'000, 'q'), door);
  EXPECT_TRUE(absl::IsCancelled(door->Run(*call, std::chrono::microseconds(0), 1)));
  EXPECT_TRUE(Eventually([this] { return service_.engine().FreeSlots() == 4; }));
}

TEST_F(ScoringTest, NoTextIsRefused) {
  const auto door = std::make_shared<Door>();
  const auto call = Start("", door);
  EXPECT_EQ(door->Run(*call).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace fmaserver::testing
