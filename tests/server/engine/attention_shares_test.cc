#include "server/engine/attention_shares.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/engine/engine_fixture.h"

namespace fmaserver::testing {
namespace {

TEST(SharesOfTest, AreAveragesOverTheHeadsOfALayer) {
  model::ModelConfig config;
  config.num_layers = 2;
  config.attention.num_heads = 4;
  config.attention.num_kv_heads = 2;
  config.attention.hierarchy.num_levels = 2;
  ASSERT_EQ(engine::NumShares(config), 20U);
  // By layer and KV head: sinks, near field, two levels, opened units.
  const std::vector<float> sums = {
      .5F, 1, .25F, .25F, 0, .5F, 1, .25F,  .25F, 0,     // layer 0
      0,   0, 2,    0,    0, 0,   1, .125F, 0,    .875F  // layer 1
  };
  const engine::AttentionShares shares = engine::SharesOf(config, sums);
  ASSERT_EQ(shares.size(), 2U);
  EXPECT_EQ(shares[0].sinks, .25F);
  EXPECT_EQ(shares[0].near_field, .5F);
  EXPECT_EQ(shares[0].levels, (std::vector<float>{.125F, .125F}));
  EXPECT_EQ(shares[0].opened_units, 0);
  EXPECT_EQ(shares[1].sinks, 0);
  EXPECT_EQ(shares[1].near_field, .25F);
  EXPECT_EQ(shares[1].levels, (std::vector<float>{.53125F, 0}));
  EXPECT_EQ(shares[1].opened_units, .21875F);
}

float SumOf(const engine::LayerShares& layer) {
  return layer.sinks + layer.near_field + layer.opened_units +
         std::accumulate(layer.levels.begin(), layer.levels.end(), 0.0F);
}

engine::GenerateRequest Asking(int64_t max_tokens = 20) {
  engine::GenerateRequest request = Prompt(150, max_tokens, 7);
  request.attention_shares = true;
  return request;
}

std::unique_ptr<engine::Engine> Make(const model::ModelConfig& config) {
  return MakeEngine({.num_slots = 4, .max_queue = 20, .step_tokens = 37}, config);
}

void ExpectEqual(const std::vector<engine::AttentionShares>& found,
                 const std::vector<engine::AttentionShares>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i].size(), expected[i].size()) << i;
    for (size_t layer = 0; layer < found[i].size(); ++layer) {
      EXPECT_EQ(found[i][layer].sinks, expected[i][layer].sinks) << i;
      EXPECT_EQ(found[i][layer].near_field, expected[i][layer].near_field) << i;
      EXPECT_EQ(found[i][layer].levels, expected[i][layer].levels) << i;
      EXPECT_EQ(found[i][layer].opened_units, expected[i][layer].opened_units) << i;
    }
  }
}

TEST(AttentionSharesTest, ComeWithEachTokenOfEveryKindOfModel) {
  for (const model::ModelConfig& config : {SmallConfig(), SelectingConfig(), OpeningConfig()}) {
    const auto engine = Make(config);
    const auto sink = Complete(*engine, Asking());
    ASSERT_TRUE(sink->status.ok()) << sink->status;
    ASSERT_EQ(sink->shares.size(), 20U);
    float opened = 0;
    float far = 0;
    for (const engine::AttentionShares& shares : sink->shares) {
      ASSERT_EQ(std::ssize(shares), config.num_layers);
      for (const engine::LayerShares& layer : shares) {
        EXPECT_NEAR(SumOf(layer), 1, 1e-5);
        EXPECT_EQ(std::ssize(layer.levels), config.attention.hierarchy.num_levels);
        EXPECT_EQ(layer.sinks > 0, config.attention.hierarchy.sink_tokens > 0);
        opened += layer.opened_units;
        far += *std::ranges::max_element(layer.levels);
      }
    }
    EXPECT_EQ(opened > 0, config.attention.Opens());
    EXPECT_GT(far, 0);
    engine::GenerateRequest silent = Asking();
    silent.attention_shares = false;
    const auto without = Complete(*engine, silent);
    EXPECT_TRUE(without->shares.empty());
    EXPECT_EQ(without->tokens, sink->tokens);
  }
}

TEST(AttentionSharesTest, AreTheSameForSamplesAndBesideOthers) {
  const auto engine = Make(SmallConfig());
  const auto alone = Complete(*engine, Asking());
  std::vector<std::shared_ptr<RecordingGenerateSink>> sinks;
  for (int i = 0; i < 3; ++i) {
    sinks.push_back(std::make_shared<RecordingGenerateSink>());
    engine::GenerateRequest request = Asking();
    request.attention_shares = i != 1;
    request.priority = i;
    ASSERT_TRUE(engine->Submit(std::move(request), sinks.back()).ok());
  }
  for (const auto& sink : sinks) ASSERT_TRUE(sink->Wait());
  ExpectEqual(sinks[0]->shares, alone->shares);
  EXPECT_TRUE(sinks[1]->shares.empty());
  ExpectEqual(sinks[2]->shares, alone->shares);
}

TEST(AttentionSharesTest, AreTheSameFromAState) {
  const auto engine = Make(OpeningConfig());
  engine::GenerateRequest whole = Asking();
  whole.keep_state = true;
  whole.marks = {100};
  const auto sink = Complete(*engine, whole);
  ASSERT_FALSE(sink->states.empty());
  engine::GenerateRequest rest = Asking();
  rest.state = sink->states.front();
  rest.prompt.erase(rest.prompt.begin(), rest.prompt.begin() + rest.state.tokens());
  ExpectEqual(Complete(*engine, rest)->shares, sink->shares);
}

}  // namespace
}  // namespace fmaserver::testing
