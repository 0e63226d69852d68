// The forward pass: however tokens are fed, the logits have the same bits.
#include "server/engine/model.h"

#include <algorithm>
#include <random>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "server/engine/slot_pool.h"
#include "tests/server/engine/engine_fixture.h"

namespace fmaserver::testing {
namespace {

std::vector<int32_t> RandomTokens(int64_t count, int64_t vocab_size, std::mt19937& random) {
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocab_size);
  return tokens;
}

/// All logits [n, V] of a sequence fed in pieces of `chunk()` tokens.
template <typename Chunk>
std::vector<float> Feed(engine::Model& model, const std::vector<int32_t>& tokens, Chunk chunk) {
  const auto pool = engine::SlotPool::Create(model.backend(), model.layout(), 1);
  const engine::Slot slot = (*pool)->Acquire();
  std::vector<float> all;
  for (size_t position = 0; position < tokens.size();) {
    const auto rows = std::min<size_t>(chunk(), tokens.size() - position);
    const engine::StepSegment segment{slot.handle(), static_cast<int64_t>(position),
                                      std::span(tokens).subspan(position, rows),
                                      static_cast<int32_t>(rows)};
    const auto logits = model.Step({&segment, 1});
    EXPECT_TRUE(logits.ok()) << logits.status();
    all.insert(all.end(), logits->begin(), logits->end());
    position += rows;
  }
  return all;
}

void MakeSelector(kernels::AttentionSpec& attention, std::mt19937& random) {
  attention.hierarchy.rank = 1 + static_cast<int32_t>(random() % 5);
  attention.padding = kernels::Padding::kMasked;
  attention.scale_far_field = false;
  attention.select_lag = static_cast<int32_t>(random() % 16);
  attention.select_novel = static_cast<int32_t>(random() % (attention.hierarchy.rank + 1));
  if (attention.far_positions == kernels::FarPositions::kCenter) {
    attention.far_positions = kernels::FarPositions::kOwn;
  }
}

void DrawRope(model::ModelConfig& config, std::mt19937& random) {
  if (random() % 2 == 0) config.rope_factors = {1, 1.5, 4, 8};
  if (random() % 2 == 0) config.attention.rope_attention_factor = 1.2;
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    if (random() % 3 == 0) config.layers_without_rope.push_back(layer);
  }
}

model::ModelConfig RandomConfig(std::mt19937& random) {
  model::ModelConfig config = SmallConfig();
  config.norm = static_cast<kernels::NormKind>(random() % 2);
  config.mlp = static_cast<kernels::MlpKind>(random() % 3);
  config.attention_bias = random() % 2 == 0;
  config.qk_norm = random() % 2 == 0;
  config.mlp_bias = random() % 2 == 0;
  config.tie_word_embeddings = random() % 2 == 0;
  kernels::AttentionSpec& attention = config.attention;
  attention.positions = static_cast<kernels::PositionEmbedding>(random() % 3);
  attention.far_positions = attention.positions == kernels::PositionEmbedding::kRope
                                ? static_cast<kernels::FarPositions>(random() % 2)
                                : kernels::FarPositions::kCenter;
  if (attention.positions == kernels::PositionEmbedding::kRope) DrawRope(config, random);
  attention.downsampling = static_cast<kernels::Downsampling>(random() % 5);
  attention.share_levels =
      attention.downsampling == kernels::Downsampling::kHierarchical && random() % 2 == 0;
  attention.padding = static_cast<kernels::Padding>(random() % 2);
  attention.level_bias = random() % 2 == 0;
  attention.scale_far_field = random() % 2 == 0;
  attention.hierarchy.num_levels = 1 + static_cast<int32_t>(random() % 3);
  attention.hierarchy.sink_tokens = static_cast<int32_t>(random() % 4);
  if (attention.Selects()) MakeSelector(attention, random);
  if (attention.FarIsRotated() && random() % 2 == 0) {
    attention.max_distance = 32 + static_cast<int64_t>(random() % 100);
  }
  return config;
}

TEST(Model, PrefillDecodeAndAnyMixAgreeOnRandomConfigurations) {
  std::mt19937 random(1);
  for (int round = 0; round < 40; ++round) {
    const model::ModelConfig config = RandomConfig(random);
    const auto model = MakeModel(config, round, /*max_rows=*/300, /*threads=*/2);
    const auto tokens = RandomTokens(250, config.vocab_size, random);
    const auto whole = Feed(*model, tokens, [] { return 300; });
    ASSERT_EQ(whole, Feed(*model, tokens, [] { return 1; })) << "round " << round;
    ASSERT_EQ(whole, Feed(*model, tokens, [&] { return 1 + random() % 40; })) << "round " << round;
  }
}

TEST(Model, SequencesOfAStepDoNotTouchEachOther) {
  std::mt19937 random(2);
  const auto model = MakeModel(SmallConfig(), 7, /*max_rows=*/64);
  const auto pool = engine::SlotPool::Create(model->backend(), model->layout(), 5);
  std::vector<engine::Slot> slots;
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::vector<float>> expected;
  std::vector<std::vector<float>> actual(5);
  for (int i = 0; i < 5; ++i) {
    slots.push_back((*pool)->Acquire());
    tokens.push_back(RandomTokens(40 + i * 13, 260, random));
    expected.push_back(Feed(*model, tokens[i], [] { return 64; }));
  }
  for (;;) {
    std::vector<engine::StepSegment> segments;
    std::vector<int> owners;
    for (int i = 0; i < 5; ++i) {
      const auto fed = static_cast<int64_t>(actual[i].size()) / 260;
      const auto left = static_cast<int64_t>(tokens[i].size()) - fed;
      const auto rows = std::min<int64_t>(left, 1 + random() % 10);
      if (rows == 0) continue;
      segments.push_back({slots[i].handle(), fed, std::span(tokens[i]).subspan(fed, rows),
                          static_cast<int32_t>(rows)});
      owners.push_back(i);
    }
    if (segments.empty()) break;
    const auto logits = model->Step(segments);
    ASSERT_TRUE(logits.ok());
    size_t offset = 0;
    for (size_t part = 0; part < segments.size(); ++part) {
      const auto rows = logits->subspan(offset, segments[part].tokens.size() * 260);
      actual[owners[part]].insert(actual[owners[part]].end(), rows.begin(), rows.end());
      offset += rows.size();
    }
  }
  EXPECT_EQ(actual, expected);
}

TEST(Model, LogitsComeForTheLastRowsAskedFor) {
  std::mt19937 random(3);
  const auto model = MakeModel(SmallConfig(), 9, /*max_rows=*/64);
  const auto tokens = RandomTokens(30, 260, random);
  const auto all = Feed(*model, tokens, [] { return 64; });
  const auto pool = engine::SlotPool::Create(model->backend(), model->layout(), 1);
  const engine::Slot slot = (*pool)->Acquire();
  const engine::StepSegment segment{slot.handle(), 0, tokens, 3};
  const auto last = model->Step({&segment, 1});
  ASSERT_TRUE(last.ok());
  EXPECT_TRUE(std::equal(last->begin(), last->end(), all.end() - 3 * 260, all.end()));
}

/// This is what speculation does: guesses are scored in one step, and some of them are kept.
TEST(Model, CommittingSomeOfAStepIsFeedingThemAlone) {
  std::mt19937 random(4);
  for (int round = 0; round < 20; ++round) {
    const model::ModelConfig config = RandomConfig(random);
    const auto model = MakeModel(config, round, /*max_rows=*/64);
    const auto tokens = RandomTokens(90, config.vocab_size, random);
    const auto pool = engine::SlotPool::Create(model->backend(), model->layout(), 2);
    engine::Slot guessing = (*pool)->Acquire();
    engine::Slot plain = (*pool)->Acquire();
    ASSERT_TRUE(plain.CopyFrom(guessing).ok());  // even in what has not been written yet
    for (int64_t position = 0; position < 80;) {
      const auto guesses = static_cast<int32_t>(1 + random() % 9);
      const auto accepted = static_cast<int32_t>(random() % (guesses + 1));
      const auto next = std::span(tokens).subspan(position);
      const engine::StepSegment tentative{guessing.handle(), position, next.first(guesses), guesses,
                                          /*tentative=*/true};
      const auto guessed = model->Step({&tentative, 1});
      ASSERT_TRUE(guessed.ok()) << guessed.status();
      const std::vector<float> scores(guessed->begin(), guessed->end());
      ASSERT_TRUE(model->Commit({&accepted, 1}).ok());
      if (accepted == 0) continue;
      const engine::StepSegment segment{plain.handle(), position, next.first(accepted), accepted};
      const auto fed = model->Step({&segment, 1});
      ASSERT_TRUE(fed.ok()) << fed.status();
      ASSERT_TRUE(std::equal(fed->begin(), fed->end(), scores.begin()));
      position += accepted;
      const auto state = guessing.Save(position);
      const auto expected = plain.Save(position);
      ASSERT_TRUE(state.ok() && expected.ok());
      ASSERT_TRUE(std::ranges::equal((*state)->bytes(), (*expected)->bytes()));
    }
  }
}

TEST(Model, RefusesStepsThatDoNotFit) {
  const auto model = MakeModel(SmallConfig(), 1, /*max_rows=*/4);
  const std::vector<int32_t> tokens(5, 1);
  const auto pool = engine::SlotPool::Create(model->backend(), model->layout(), 1);
  const engine::Slot slot = (*pool)->Acquire();
  const engine::StepSegment segment{slot.handle(), 0, tokens, 1};
  EXPECT_EQ(model->Step({&segment, 1}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SlotPool, GivesEachSlotOnceAndTakesItBack) {
  const auto backend = kernels::MakeCpuBackend(1);
  const auto pool = engine::SlotPool::Create(**backend, LayoutOf(256), 3);
  ASSERT_TRUE(pool.ok());
  std::vector<engine::Slot> slots;
  for (int i = 0; i < 3; ++i) slots.push_back((*pool)->Acquire());
  EXPECT_FALSE((*pool)->Acquire());
  const kernels::SlotHandle freed = slots[1].handle();
  slots[1] = engine::Slot();
  EXPECT_EQ((*pool)->num_free(), 1);
  const engine::Slot again = (*pool)->Acquire();
  EXPECT_EQ(again.handle(), freed);
}

TEST(SlotPool, SaysWhatDoesNotFit) {
  const auto backend = kernels::MakeCpuBackend(1);
  const auto pool = engine::SlotPool::Create(**backend, LayoutOf(int64_t{1} << 50), 4096);
  EXPECT_EQ(pool.status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace fmaserver::testing
