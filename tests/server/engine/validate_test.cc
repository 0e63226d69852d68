// What a valid request becomes. Refusals and their reasons are tested with the engine
// (engine_test.cc) and on the wire.
#include "server/engine/validate.h"

#include <set>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/engine/engine_fixture.h"

namespace fmaserver::testing {
namespace {

// Only Validate makes them.
static_assert(!std::is_default_constructible_v<engine::ValidGenerateRequest>);
static_assert(!std::is_constructible_v<engine::ValidScoreRequest, engine::ScoreRequest>);
static_assert(!std::is_constructible_v<engine::ValidGenerateRequest, engine::GenerateRequest,
                                       uint64_t, std::vector<int32_t>>);

TEST(Validate, KeepsTheSeedOrDrawsOne) {
  EXPECT_EQ(engine::Validate(Prompt(3, 1, 77), SmallConfig())->seed(), 77U);
  std::set<uint64_t> seeds;
  for (int i = 0; i < 20; ++i) {
    engine::GenerateRequest request = Prompt(3, 1, 1);
    request.sampling.seed.reset();
    seeds.insert(engine::Validate(request, SmallConfig())->seed());
  }
  EXPECT_EQ(seeds.size(), 20U);
}

TEST(Validate, KnowsWhatEndsTheText) {
  engine::GenerateRequest request = Prompt(3, 1, 1);
  request.stop_token_ids = {5, 6};
  request.ignore_eos = false;
  const auto valid = engine::Validate(request, SmallConfig());
  ASSERT_TRUE(valid.ok()) << valid.status();
  EXPECT_EQ(valid->eos_tokens(), std::vector<int32_t>{257});
  EXPECT_EQ(valid->stop_tokens(), (std::vector<int32_t>{257, 5, 6}));
  request.ignore_eos = true;
  EXPECT_TRUE(engine::Validate(request, SmallConfig())->eos_tokens().empty());
  EXPECT_EQ((*engine::Validate(request, SmallConfig()))->prompt, request.prompt);
}

TEST(Validate, RefusesScoresOfNothing) {
  const auto refused = engine::Validate(engine::ScoreRequest{}, SmallConfig());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.status().message(), "tokens is empty; allowed: 1 token or more");
}

}  // namespace
}  // namespace fmaserver::testing
