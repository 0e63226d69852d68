// Tentative steps: their outputs, and the slots after some of their rows have been committed.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/attention_fixture.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {
namespace {

class TentativeTest : public AttentionTest {
 protected:
  /// A slot's bytes after `tokens` tokens, with zeros where the bytes do not matter: running sums
  /// of groups that have no input yet, which the next input starts, and of padding channels.
  std::vector<std::byte> StateOf(const kernels::AttentionSpec& spec,
                                 const kernels::SlotMemory& slot, int64_t tokens) {
    std::vector<std::byte> bytes = BytesOf(slot);
    const kernels::SlotLayout& layout = slot.layout;
    for (int32_t head = 0; head < layout.num_kv_heads; ++head) {
      auto* sums =
          reinterpret_cast<float*>(bytes.data() + layout.HeadOffset(0, head) + layout.sums_offset);
      for (int64_t i = 0; i < 2 * layout.SumsPerKind(); ++i) {
        const auto level = static_cast<int>(i % layout.SumsPerKind() / layout.SumIndex(2)) + 1;
        if (i % layout.padded_dim >= layout.head_dim || !HasInput(spec, level, tokens)) sums[i] = 0;
      }
    }
    return bytes;
  }

  /// Whether the open group of `level` has an input.
  static bool HasInput(const kernels::AttentionSpec& spec, int level, int64_t tokens) {
    const bool merges = level > 1 && spec.downsampling == kernels::Downsampling::kHierarchical;
    const int64_t input = merges ? spec.hierarchy.GroupTokens(level - 1) : 1;
    return tokens % spec.hierarchy.GroupTokens(level) >= input;
  }

  void ExpectSameState(const kernels::AttentionSpec& spec, const kernels::SlotMemory& a,
                       const kernels::SlotMemory& b, int64_t tokens) {
    const bool same = StateOf(spec, a, tokens) == StateOf(spec, b, tokens);
    ASSERT_TRUE(same);
  }
};

TEST_P(TentativeTest, CommitIsFeedingWhatIsCommitted) {
  std::mt19937 random(1);
  for (int round = 0; round < Rounds(40); ++round) {
    const kernels::AttentionSpec spec = RandomSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout(spec, 1, TypeOfRound(round));
    const auto weights = PackFor(backend(), layer);
    const float tolerance = layout.type == kernels::CacheType::kF32 ? 2e-5F : 0.05F;
    const int64_t horizons = 2 * spec.hierarchy.Horizon() + 3;
    const int64_t n = IsCuda() ? std::min<int64_t>(horizons, 100) : horizons;
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    const auto guessing = PoisonedSlot(layout);
    const auto plain = PoisonedSlot(layout);
    for (int64_t position = 0; position < n;) {
      const auto rows = static_cast<int32_t>(
          std::min<int64_t>(n - position, 1 + random() % (spec.hierarchy.group_size + 2)));
      const auto accepted = static_cast<int32_t>(random() % (rows + 1));
      SCOPED_TRACE(::testing::Message() << accepted << " of " << rows << " at " << position);
      const auto before = BytesOf(*guessing);
      const auto guessed =
          Step(*weights, spec, {{guessing.get(), position, rows, &qkv, /*tentative=*/true}});
      ASSERT_EQ(BytesOf(*guessing), before);
      const std::vector<int32_t> commit = {accepted};
      ASSERT_TRUE(backend().Commit(commit).ok());
      if (accepted == 0) {
        ASSERT_EQ(BytesOf(*guessing), before);
        continue;
      }
      const auto fed = Step(*weights, spec, {{plain.get(), position, accepted, &qkv}});
      ExpectSameRows(fed, std::span(guessed).first(fed.size()), tolerance);
      position += accepted;
      ExpectSameState(spec, *guessing, *plain, position);
      if (HasFatalFailure()) return;
    }
  }
}

/// Commits every possible number of rows at every position from the start to past the horizon.
TEST_P(TentativeTest, EveryPositionAndNumberOfRows) {
  std::mt19937 random(2);
  kernels::AttentionSpec spec;
  spec.num_heads = 2;
  spec.num_kv_heads = 1;
  spec.head_dim = 6;
  spec.hierarchy = {4, 2, 2, 3};
  const ReferenceAttention layer = RandomAttention(spec, random);
  const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kF32);
  const auto weights = PackFor(backend(), layer);
  const int64_t n = spec.hierarchy.Horizon() + 14;
  const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
  const auto base = PoisonedSlot(layout);
  const auto guessing = PoisonedSlot(layout);
  const auto plain = PoisonedSlot(layout);
  for (int64_t position = 0; position + 6 <= n; position += IsCuda() ? 3 : 1) {
    for (int32_t accepted = 0; accepted <= 6; ++accepted) {
      SCOPED_TRACE(::testing::Message() << accepted << " of 6 at " << position);
      ASSERT_TRUE(backend().CopySlot({base.get()}, {guessing.get()}).ok());
      ASSERT_TRUE(backend().CopySlot({base.get()}, {plain.get()}).ok());
      Step(*weights, spec, {{guessing.get(), position, 6, &qkv, /*tentative=*/true}});
      const std::vector<int32_t> commit = {accepted};
      ASSERT_TRUE(backend().Commit(commit).ok());
      if (accepted > 0) Step(*weights, spec, {{plain.get(), position, accepted, &qkv}});
      ExpectSameState(spec, *guessing, *plain, position + accepted);
      if (HasFatalFailure()) return;
    }
    const int32_t step = IsCuda() ? 3 : 1;
    Step(*weights, spec, {{base.get(), position, step, &qkv}});
  }
}

TEST_P(TentativeTest, OrdinaryAndTentativeSegmentsShareAStep) {
  std::mt19937 random(3);
  for (int round = 0; round < Rounds(20); ++round) {
    const kernels::AttentionSpec spec = RandomSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kF32);
    const auto weights = PackFor(backend(), layer);
    const auto qkv = RandomFloats(40 * spec.QkvColumns(), 1.0F, random);
    std::vector<std::unique_ptr<kernels::SlotMemory>> together;
    std::vector<std::unique_ptr<kernels::SlotMemory>> alone;
    std::vector<Part> parts;
    std::vector<int32_t> accepted;
    std::vector<int64_t> tokens;
    for (int i = 0; i < 4; ++i) {
      together.push_back(PoisonedSlot(layout));
      alone.push_back(PoisonedSlot(layout));
      const auto rows = static_cast<int32_t>(1 + random() % 6);
      for (const auto* slot : {together[i].get(), alone[i].get()}) {
        Step(*weights, spec, {{slot, 0, 30, &qkv}});
      }
      parts.push_back({together[i].get(), 30, rows, &qkv, /*tentative=*/i % 2 == 1});
      const auto taken = i % 2 == 1 ? static_cast<int32_t>(random() % (rows + 1)) : rows;
      if (i % 2 == 1) accepted.push_back(taken);
      tokens.push_back(30 + taken);
      if (taken > 0) Step(*weights, spec, {{alone[i].get(), 30, taken, &qkv}});
    }
    Step(*weights, spec, parts);
    ASSERT_TRUE(backend().Commit(accepted).ok());
    for (int i = 0; i < 4; ++i) ExpectSameState(spec, *together[i], *alone[i], tokens[i]);
  }
}

TEST_P(TentativeTest, WhatIsNotCommittedIsForgotten) {
  std::mt19937 random(4);
  const kernels::AttentionSpec spec = RandomSpec(random);
  const ReferenceAttention layer = RandomAttention(spec, random);
  const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kF32);
  const auto weights = PackFor(backend(), layer);
  const auto qkv = RandomFloats(9 * spec.QkvColumns(), 1.0F, random);
  const auto slot = PoisonedSlot(layout);
  const auto plain = PoisonedSlot(layout);
  Step(*weights, spec, {{slot.get(), 0, 5, &qkv, /*tentative=*/true}});
  Step(*weights, spec, {{slot.get(), 0, 9, &qkv}});
  Step(*weights, spec, {{plain.get(), 0, 9, &qkv}});
  ExpectSameState(spec, *slot, *plain, 9);
  const std::vector<int32_t> late = {5};
  EXPECT_EQ(backend().Commit(late).code(), absl::StatusCode::kInvalidArgument);
  ExpectSameState(spec, *slot, *plain, 9);
}

TEST_P(TentativeTest, RefusesWhatDoesNotFitTheStep) {
  std::mt19937 random(5);
  const kernels::AttentionSpec spec = RandomSpec(random);
  const ReferenceAttention layer = RandomAttention(spec, random);
  const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kF32);
  const auto weights = PackFor(backend(), layer);
  const auto qkv = RandomFloats(9 * spec.QkvColumns(), 1.0F, random);
  const auto slot = PoisonedSlot(layout);
  const auto before = BytesOf(*slot);
  for (const std::vector<int32_t>& commit :
       {std::vector<int32_t>{}, std::vector<int32_t>{4}, std::vector<int32_t>{-1},
        std::vector<int32_t>{1, 1}}) {
    Step(*weights, spec, {{slot.get(), 0, 3, &qkv, /*tentative=*/true}});
    EXPECT_EQ(backend().Commit(commit).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(BytesOf(*slot), before);
  }
}

FMA_ON_EVERY_BACKEND(TentativeTest);

}  // namespace
}  // namespace fmaserver::testing
