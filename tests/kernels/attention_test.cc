// The multilevel attention against its definition, in every way of feeding it.
#include <algorithm>
#include <cmath>
#include <random>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "tests/kernels/attention_fixture.h"
#include "tests/kernels/backends.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {
namespace {

double LargestDifference(std::span<const float> a, std::span<const double> b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    if (!(difference <= largest)) largest = difference;  // keeps NaN
  }
  return largest;
}

TEST_P(AttentionTest, IncrementalEqualsFromScratchOverSeveralHorizons) {
  std::mt19937 random(1);
  int64_t selected = 0;  // rows of models that select tokens
  int64_t compared = 0;
  for (int round = 0; round < Rounds(90); ++round) {
    const kernels::AttentionSpec spec = RandomSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kF32);
    const auto weights = PackFor(backend(), layer);
    const int64_t n = std::min<int64_t>(2 * spec.hierarchy.Horizon() + 5, 150);
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    const auto decoded = Feed(*weights, spec, layout, qkv, [] { return 1; });
    const auto expected = layer.Evaluate(qkv);
    ASSERT_LE(LargestDifference(std::span(decoded).first(expected.size()), expected), 2e-5);
    if (!spec.Selects()) continue;
    selected += n;
    compared += std::ssize(expected) / spec.num_heads / spec.head_dim;
  }
  EXPECT_GE(compared, selected * 9 / 10);  // the rest follows a choice that rounding could turn
}

TEST_P(AttentionTest, EveryChunkingGivesTheSameBits) {
  std::mt19937 random(2);
  for (int round = 0; round < Rounds(60); ++round) {
    const kernels::AttentionSpec spec = RandomSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout(spec, 1, TypeOfRound(round));
    const auto weights = PackFor(backend(), layer);
    const int64_t n = 3 * spec.hierarchy.Horizon() + 3;
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    const auto decoded = Feed(*weights, spec, layout, qkv, [] { return 1; });
    const auto whole = Feed(*weights, spec, layout, qkv, [&] { return n; });
    const auto mixed = Feed(*weights, spec, layout, qkv, [&] { return 1 + random() % 23; });
    const float tolerance = layout.type == kernels::CacheType::kF32 ? 2e-5F : 0.05F;
    ExpectSameRows(decoded, whole, tolerance);
    ExpectSameRows(decoded, mixed, tolerance);
  }
}

TEST_P(AttentionTest, BatchOfMixedSegmentsEqualsSoloRuns) {
  std::mt19937 random(3);
  for (int sequences = 1; sequences <= 9; ++sequences) {
    const kernels::AttentionSpec spec = RandomSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kF32);
    const auto weights = PackFor(backend(), layer);
    const int64_t columns = int64_t{spec.num_heads} * spec.head_dim;
    std::vector<std::vector<float>> qkv;
    std::vector<std::vector<float>> expected;
    std::vector<std::vector<float>> actual(sequences);
    std::vector<std::unique_ptr<kernels::SlotMemory>> slots;
    for (int i = 0; i < sequences; ++i) {
      qkv.push_back(RandomFloats((5 + random() % 60) * spec.QkvColumns(), 1.0F, random));
      expected.push_back(Feed(*weights, spec, layout, qkv[i], [] { return 1; }));
      slots.push_back(PoisonedSlot(layout));
    }
    for (bool any = true; any;) {
      any = false;
      std::vector<Part> parts;
      std::vector<int> owners;
      for (int i = 0; i < sequences; ++i) {
        const int64_t fed = static_cast<int64_t>(actual[i].size()) / columns;
        const int64_t left = static_cast<int64_t>(qkv[i].size()) / spec.QkvColumns() - fed;
        const auto rows = static_cast<int32_t>(
            std::min<int64_t>(left, random() % 3 == 0 ? 1 + random() % 9 : random() % 2));
        any = any || left > 0;
        if (rows == 0) continue;
        parts.push_back({slots[i].get(), fed, rows, &qkv[i]});
        owners.push_back(i);
      }
      if (parts.empty()) continue;
      const auto out = Step(*weights, spec, parts);
      auto from = out.begin();
      for (size_t part = 0; part < parts.size(); ++part) {
        auto& sequence = actual[owners[part]];
        sequence.insert(sequence.end(), from, from + parts[part].rows * columns);
        from += parts[part].rows * columns;
      }
    }
    for (int i = 0; i < sequences; ++i) ExpectSameRows(actual[i], expected[i], 2e-5F);
  }
}

TEST_P(AttentionTest, UsedSlotEqualsFreshOne) {
  std::mt19937 random(4);
  const kernels::AttentionSpec spec = RandomSpec(random);
  const ReferenceAttention layer = RandomAttention(spec, random);
  const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kF32);
  const auto weights = PackFor(backend(), layer);
  const auto used = PoisonedSlot(layout);
  for (int document = 0; document < Rounds(30); ++document) {
    const auto rows = static_cast<int32_t>(1 + random() % 100);
    const auto qkv = RandomFloats(rows * spec.QkvColumns(), 1.0F, random);
    const auto fresh = PoisonedSlot(layout);
    ASSERT_EQ(Step(*weights, spec, {{used.get(), 0, rows, &qkv}}),
              Step(*weights, spec, {{fresh.get(), 0, rows, &qkv}}));
  }
}

TEST_P(AttentionTest, Bf16CacheStaysWithinItsRounding) {
  std::mt19937 random(5);
  for (int round = 0; round < Rounds(20); ++round) {
    kernels::AttentionSpec spec = RandomSpec(random);
    while (spec.Selects()) spec = RandomSpec(random);  // rounding turns choices: select_test.cc
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kBF16);
    const auto weights = PackFor(backend(), layer);
    const auto qkv = RandomFloats(100 * spec.QkvColumns(), 1.0F, random);
    const auto decoded = Feed(*weights, spec, layout, qkv, [] { return 1; });
    // Keys and values of about 1 are rounded to 8 bits, and the softmax averages them.
    ASSERT_LE(LargestDifference(decoded, layer.Evaluate(qkv)), 0.05);
  }
}

/// At positions of millions the angles must still be right, and groups must close where they end.
TEST_P(AttentionTest, RotaryAnglesAreExactFarFromTheStart) {
  std::mt19937 random(6);
  kernels::AttentionSpec spec;
  spec.num_heads = spec.num_kv_heads = 1;
  spec.head_dim = 64;
  spec.hierarchy = {8, 2, 1, 0};
  spec.downsampling = kernels::Downsampling::kAverage;
  const ReferenceAttention layer = RandomAttention(spec, random);
  const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kF32);
  const auto weights = PackFor(backend(), layer);
  // The same sequence at the start and shifted by whole groups attends alike: scores depend on
  // distances alone. Row 40 sees nothing but the 40 tokens before it.
  const int64_t shift = 10'000'000;
  const auto qkv = RandomFloats(48 * spec.QkvColumns(), 1.0F, random);
  const auto near = PoisonedSlot(layout);
  const auto far = SlotOfZeros(layout);  // stands for the tokens before the shift
  std::vector<float> out_near;
  std::vector<float> out_far;
  for (int64_t i = 0; i < 48; ++i) {
    out_near = Step(*weights, spec, {{near.get(), i, 1, &qkv}});
    const std::vector<kernels::Segment> segment = {{{far.get()}, shift + i, 1}};
    const DeviceMatrix row(backend(), 1,
                           std::vector<float>(qkv.begin() + i * spec.QkvColumns(),
                                              qkv.begin() + (i + 1) * spec.QkvColumns()));
    const DeviceMatrix out(backend(), 1, spec.head_dim);
    backend().BeginStep(spec, segment);
    backend().Attend(*weights, 0, row, out);
    ASSERT_TRUE(backend().EndStep().ok());
    out_far = out.Read();
  }
  for (int c = 0; c < spec.head_dim; ++c) EXPECT_NEAR(out_far[c], out_near[c], 1e-5);
}

/// Layers without rope have slots laid out like the others', and those need not rotate alike.
TEST_P(AttentionTest, LayersOfAStepRotateEachInItsOwnWay) {
  std::mt19937 random(7);
  for (int round = 0; round < Rounds(30); ++round) {
    kernels::AttentionSpec spec = RandomSpec(random);
    while (spec.positions != kernels::PositionEmbedding::kRope) spec = RandomSpec(random);
    SCOPED_TRACE(Describe(spec));
    const std::vector<ReferenceAttention> layers = {RandomAttention(spec, random),
                                                    RandomAttention(spec.WithoutRope(), random),
                                                    RandomAttention(spec, random)};
    std::vector<std::unique_ptr<kernels::AttentionWeights>> weights;
    for (const ReferenceAttention& layer : layers) weights.push_back(PackFor(backend(), layer));
    const auto slot = PoisonedSlot({spec, /*layers=*/3, kernels::CacheType::kF32});
    const int64_t n = std::min<int64_t>(2 * spec.hierarchy.Horizon() + 5, 90);
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    std::vector<std::vector<float>> found(layers.size());
    for (int64_t position = 0; position < n;) {
      const auto rows = std::min<int64_t>(n - position, 1 + random() % 9);
      const auto first = qkv.begin() + position * spec.QkvColumns();
      const std::vector<float> in(first, first + rows * spec.QkvColumns());
      std::vector<DeviceMatrix> inputs;
      std::vector<DeviceMatrix> outputs;
      for (size_t i = 0; i < layers.size(); ++i) {
        inputs.emplace_back(backend(), rows, in);
        outputs.emplace_back(backend(), rows, int64_t{spec.num_heads} * spec.head_dim);
      }
      const std::vector<kernels::Segment> segment = {
          {{slot.get()}, position, static_cast<int32_t>(rows)}};
      backend().BeginStep(spec, segment);
      for (size_t i = 0; i < layers.size(); ++i) {
        backend().Attend(*weights[i], static_cast<int32_t>(i), inputs[i], outputs[i]);
      }
      ASSERT_TRUE(backend().EndStep().ok());
      for (size_t i = 0; i < layers.size(); ++i) {
        const std::vector<float> out = outputs[i].Read();
        found[i].insert(found[i].end(), out.begin(), out.end());
      }
      position += rows;
    }
    for (size_t i = 0; i < layers.size(); ++i) {
      const std::vector<double> expected = layers[i].Evaluate(qkv);
      ASSERT_LE(LargestDifference(std::span(found[i]).first(expected.size()), expected), 2e-5) << i;
    }
  }
}

FMA_ON_EVERY_BACKEND(AttentionTest);

}  // namespace
}  // namespace fmaserver::testing
