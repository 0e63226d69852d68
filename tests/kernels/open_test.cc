// Opened units against their definition, in every way of feeding them.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/fma/element.h"
#include "tests/kernels/attention_fixture.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::array<int32_t, 6> kSmallGroups = {1, 2, 4, 6, 8, 12};
constexpr std::array<int32_t, 3> kLargeGroups = {16, 32, 48};

class OpenTest : public AttentionTest {
 protected:
  /// Fewer than others in the emulator, where a token takes three times as long with units.
  int Rounds(int all) { return GetParam() == "cuda_emulated" ? (all + 9) / 10 : all; }
};

/// Tokens enough for groups to be met in both forms, and not only in the first place of the slot's
/// ring.
int64_t Enough(const kernels::AttentionSpec& spec) {
  const int64_t m = spec.hierarchy.group_size;
  return std::clamp<int64_t>(2 * spec.max_distance + 9 * m + 3, 60, 150 + 4 * m);
}

TEST_P(OpenTest, IncrementalEqualsFromScratch) {
  std::mt19937 random(1);
  int64_t fed = 0;
  int64_t compared = 0;
  for (int round = 0; round < Rounds(80); ++round) {
    const auto groups = round % 4 == 0 ? std::span<const int32_t>(kLargeGroups) : kSmallGroups;
    const kernels::AttentionSpec spec = RandomOpeningSpec(groups, random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kF32);
    const auto weights = PackFor(backend(), layer);
    const int64_t n = Enough(spec);
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    const auto decoded = Feed(*weights, spec, layout, qkv, [] { return 1; });
    const auto expected = layer.Evaluate(qkv);
    const int64_t columns = int64_t{spec.num_heads} * spec.head_dim;
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(decoded[i], expected[i], 2e-5) << "row " << i / columns;
    }
    fed += n;
    compared += std::ssize(expected) / columns;
  }
  EXPECT_GE(compared, fed * 8 / 10);  // the rest follows a choice that rounding could turn
}

TEST_P(OpenTest, EverySlicingLeavesTheSameBits) {
  std::mt19937 random(2);
  for (int round = 0; round < Rounds(40); ++round) {
    const auto groups = round % 4 == 0 ? std::span<const int32_t>(kLargeGroups) : kSmallGroups;
    const kernels::AttentionSpec spec = RandomOpeningSpec(groups, random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout = LayoutOfRound(spec, round);
    const auto weights = PackFor(backend(), layer);
    const int64_t n = Enough(spec);
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    std::vector<float> decoded;
    std::vector<std::byte> state;
    std::vector<std::byte> archived;
    for (const int64_t longest : {int64_t{1}, int64_t{9}, n}) {
      const auto slot = PoisonedSlot(layout);
      TestArchive archive(layout.Archive(spec));
      std::vector<float> out;
      for (int64_t position = 0; position < n;) {
        const int64_t rows = longest == n ? n : 1 + static_cast<int64_t>(random() % longest);
        const auto count = static_cast<int32_t>(std::min(rows, n - position));
        const auto part =
            Step(*weights, spec, {{slot.get(), position, count, &qkv, false, &archive}});
        out.insert(out.end(), part.begin(), part.end());
        position += count;
      }
      if (longest == 1) {
        decoded = out;
        state = BytesOf(*slot);
        archived = archive.Bytes(backend(), n);
        continue;
      }
      ASSERT_EQ(out, decoded);
      ASSERT_TRUE(BytesOf(*slot) == state);
      ASSERT_TRUE(archive.Bytes(backend(), n) == archived);
    }
  }
}

/// What opens no units is what it would be in a model without them, whoever else is in its steps.
TEST_P(OpenTest, SequencesThatOpenShareStepsWithOthers) {
  std::mt19937 random(3);
  for (int round = 0; round < Rounds(20); ++round) {
    const kernels::AttentionSpec spec = RandomOpeningSpec(kSmallGroups, random);
    SCOPED_TRACE(Describe(spec));
    kernels::AttentionSpec closed = spec;
    closed.open_units = 0;
    const ReferenceAttention layer = RandomAttention(spec, random);
    ReferenceAttention closed_layer = layer;
    closed_layer.spec = closed;
    const kernels::SlotLayout layout = LayoutOfRound(spec, round + 3);
    const auto weights = PackFor(backend(), layer);
    const auto closed_weights = PackFor(backend(), closed_layer);
    const int64_t n = Enough(spec);
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    const auto opening = Feed(*weights, spec, layout, qkv, [] { return 1; });
    const auto closing =
        Feed(*closed_weights, closed, {closed, 1, layout.type}, qkv, [] { return 5; });
    const auto slot = PoisonedSlot(layout);
    const auto closed_slot = PoisonedSlot(layout);
    TestArchive archive(layout.Archive(spec));
    const int64_t columns = int64_t{spec.num_heads} * spec.head_dim;
    for (int64_t position = 0; position < n;) {
      const auto rows = static_cast<int32_t>(std::min<int64_t>(1 + random() % 7, n - position));
      const auto out = Step(*weights, spec,
                            {{slot.get(), position, rows, &qkv, false, &archive},
                             {closed_slot.get(), position, rows, &qkv}});
      for (int64_t i = 0; i < rows * columns; ++i) {
        ASSERT_EQ(out[i], opening[position * columns + i]) << "at " << position;
        ASSERT_EQ(out[rows * columns + i], closing[position * columns + i]) << "at " << position;
      }
      position += rows;
    }
  }
}

TEST_P(OpenTest, CommitIsFeedingWhatIsCommitted) {
  std::mt19937 random(4);
  for (int round = 0; round < Rounds(20); ++round) {
    const kernels::AttentionSpec spec = RandomOpeningSpec(kSmallGroups, random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout = LayoutOfRound(spec, round + 3);
    const auto weights = PackFor(backend(), layer);
    const int64_t n = Enough(spec);
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    const auto plain = PoisonedSlot(layout);
    const auto guessing = PoisonedSlot(layout);
    TestArchive plain_archive(layout.Archive(spec));
    TestArchive archive(layout.Archive(spec));
    for (int64_t position = 0; position < n;) {
      const auto rows = static_cast<int32_t>(
          std::min<int64_t>(n - position, 1 + random() % (2 * spec.hierarchy.group_size + 2)));
      const auto accepted = static_cast<int32_t>(random() % (rows + 1));
      const auto guessed =
          Step(*weights, spec, {{guessing.get(), position, rows, &qkv, true, &archive}});
      const std::vector<int32_t> commit = {accepted};
      ASSERT_TRUE(backend().Commit(commit).ok());
      if (accepted == 0) continue;
      const auto fed =
          Step(*weights, spec, {{plain.get(), position, accepted, &qkv, false, &plain_archive}});
      ExpectSameRows(fed, std::span(guessed).first(fed.size()), 0);
      position += accepted;
      ASSERT_TRUE(BytesOf(*guessing) == BytesOf(*plain));
      ASSERT_TRUE(archive.Bytes(backend(), position) == plain_archive.Bytes(backend(), position));
    }
  }
}

/// Layers without rope have slots and archives laid out like the others'.
TEST_P(OpenTest, LayersOfAStepOpenEachInItsOwnWay) {
  std::mt19937 random(5);
  for (int round = 0; round < Rounds(20); ++round) {
    kernels::AttentionSpec spec = RandomOpeningSpec(kSmallGroups, random);
    while (spec.max_distance == 0) spec = RandomOpeningSpec(kSmallGroups, random);
    SCOPED_TRACE(Describe(spec));
    const std::array<ReferenceAttention, 2> layers = {RandomAttention(spec, random),
                                                      RandomAttention(spec.WithoutRope(), random)};
    const std::array weights = {PackFor(backend(), layers[0]), PackFor(backend(), layers[1])};
    const int64_t n = Enough(spec);
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    const auto slot = PoisonedSlot({spec, 2, kernels::CacheType::kF32});
    TestArchive archive({spec, 2, kernels::CacheType::kF32});
    std::array<std::vector<float>, 2> found;
    for (int64_t position = 0; position < n; ++position) {
      const auto first = qkv.begin() + position * spec.QkvColumns();
      const std::vector<float> row(first, first + spec.QkvColumns());
      const std::vector<kernels::Segment> segment = {
          {{slot.get()}, position, 1, false, true, archive.Reach(backend(), position + 1)}};
      std::vector<DeviceMatrix> in;
      std::vector<DeviceMatrix> out;
      for (int i = 0; i < 2; ++i) {
        in.emplace_back(backend(), 1, row);
        out.emplace_back(backend(), 1, int64_t{spec.num_heads} * spec.head_dim);
      }
      backend().BeginStep(spec, segment);
      for (int i = 0; i < 2; ++i) backend().Attend(*weights[i], i, in[i], out[i]);
      ASSERT_TRUE(backend().EndStep().ok());
      for (int i = 0; i < 2; ++i) {
        const auto values = out[i].Read();
        found[i].insert(found[i].end(), values.begin(), values.end());
      }
    }
    for (int i = 0; i < 2; ++i) {
      const auto expected = layers[i].Evaluate(qkv);
      for (size_t at = 0; at < expected.size(); ++at) {
        ASSERT_NEAR(found[i][at], expected[at], 2e-5) << "layer " << i << " at " << at;
      }
    }
  }
}

/// With everything opened, what the sketches say does not matter, and numbers that fit are exact.
TEST_P(OpenTest, ABf16ArchiveOfNumbersThatFitIsExact) {
  std::mt19937 random(6);
  for (int round = 0; round < Rounds(10); ++round) {
    kernels::AttentionSpec spec = RandomOpeningSpec(kLargeGroups, random);
    spec = spec.WithoutRope();
    spec.open_units = 1000;
    SCOPED_TRACE(Describe(spec));
    ReferenceAttention layer = RandomAttention(spec, random);
    layer.query_norm.clear();  // normed keys would not fit
    const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kBF16);
    const auto weights = PackFor(backend(), layer);
    auto qkv = RandomFloats(200 * spec.QkvColumns(), 1.0F, random);
    for (float& x : qkv) x = kernels::ToFloat(kernels::FromFloat<kernels::BFloat16>(x));
    const auto decoded = Feed(*weights, spec, layout, qkv, [] { return 7; });
    const auto expected = layer.Evaluate(qkv);
    for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(decoded[i], expected[i], 2e-5) << i;
  }
}

/// Values do not change what is opened. With values of 1 in one unit and of 0 elsewhere, a head's
/// output is the weight of that unit.
TEST_P(OpenTest, SaysWhatTheLastRowGaveToEachUnit) {
  std::mt19937 random(8);
  int opened = 0;
  for (int round = 0; round < Rounds(30); ++round) {
    kernels::AttentionSpec spec = RandomOpeningSpec(kSmallGroups, random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout(spec, 1, kernels::CacheType::kF32);
    const kernels::ArchiveLayout archived(spec, 1, layout.type);
    const auto weights = PackFor(backend(), layer);
    const int64_t n = Enough(spec);
    auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    const int64_t units = archived.Groups(n) * archived.UnitsPerGroup();
    const int64_t unit = static_cast<int64_t>(random()) % units;
    const int64_t first_value = int64_t{spec.num_heads + spec.num_kv_heads} * spec.head_dim;
    for (int64_t token = 0; token < n; ++token) {
      const float value = token / spec.open_size == unit ? 1.0F : 0.0F;
      float* row = qkv.data() + token * spec.QkvColumns();
      std::fill(row + first_value, row + spec.QkvColumns(), value);
    }
    const auto slot = PoisonedSlot(layout);
    TestArchive archive(archived);
    Step(*weights, spec, {{slot.get(), 0, static_cast<int32_t>(n - 3), &qkv, false, &archive}});
    std::vector<float> sums(spec.num_kv_heads * units);
    const auto out = Step(*weights, spec, {{slot.get(), n - 3, 3, &qkv, false, &archive, sums}});
    const int64_t columns = int64_t{spec.num_heads} * spec.head_dim;
    for (int64_t kv_head = 0; kv_head < spec.num_kv_heads; ++kv_head) {
      const float found = sums[kv_head * units + unit];
      if (found == 0) continue;  // not opened; its tokens may be met otherwise
      ++opened;
      float expected = 0;
      for (int64_t i = 0; i < spec.QueriesPerKvHead(); ++i) {
        const int64_t head = kv_head * spec.QueriesPerKvHead() + i;
        expected += out[2 * columns + head * spec.head_dim];
      }
      // A sink in the unit is met as a sink.
      if (unit * spec.open_size >= spec.hierarchy.sink_tokens) {
        ASSERT_NEAR(found, expected, 1e-5);
      }
      const auto head_sums = std::span(sums).subspan(kv_head * units, units);
      EXPECT_LE(std::ranges::count_if(head_sums, [](float w) { return w > 0; }), spec.open_units);
      EXPECT_LT(std::accumulate(head_sums.begin(), head_sums.end(), 0.0F), spec.QueriesPerKvHead());
    }
  }
  EXPECT_GE(opened, Rounds(30) / 3);
}

/// Saved states come from outside. Whatever their bytes say, nothing outside of them is touched.
TEST_P(OpenTest, AnyBytesOfSlotAndArchiveAreSafe) {
  std::mt19937 random(7);
  for (int round = 0; round < Rounds(10); ++round) {
    const kernels::AttentionSpec spec = RandomOpeningSpec(kSmallGroups, random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const kernels::SlotLayout layout = LayoutOfRound(spec, round + 3);
    const auto weights = PackFor(backend(), layer);
    const auto qkv = RandomFloats(300 * spec.QkvColumns(), 1.0F, random);
    const auto slot = PoisonedSlot(layout);
    TestArchive archive(layout.Archive(spec));
    std::vector<std::byte> bytes(layout.slot_bytes);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    ASSERT_TRUE(backend().RestoreSlot(bytes, {slot.get()}).ok());
    for (kernels::ArchiveGroup* group : archive.Reach(backend(), 150)) {
      std::vector<std::byte> sketches(archive.layout().SketchBytes());
      for (std::byte& byte : sketches) byte = static_cast<std::byte>(random());
      ASSERT_TRUE(backend().RestoreSketches(sketches, *group).ok());
      for (int64_t i = 0; i < archive.layout().TokenBytes(); ++i) {
        group->tokens[i] = static_cast<std::byte>(random());
      }
    }
    Step(*weights, spec, {{slot.get(), 150, 100, &qkv, false, &archive}});
  }
}

FMA_ON_EVERY_BACKEND(OpenTest);

class CudaOpenTest : public BackendTest {};

TEST_P(CudaOpenTest, SaysThatUnitsAreTooManyOrTooLarge) {
  kernels::AttentionSpec spec;
  spec.num_heads = 4;
  spec.num_kv_heads = 1;
  spec.head_dim = 128;
  spec.hierarchy = {.group_size = 512, .rank = 3, .num_levels = 3, .sink_tokens = 2};
  spec.downsampling = kernels::Downsampling::kSelect;
  spec.far_positions = kernels::FarPositions::kOwn;
  spec.open_units = 1024;
  spec.open_size = 128;
  EXPECT_TRUE(backend().PackAttention(spec, {}).ok());
  spec.open_units = 1025;
  EXPECT_THAT(backend().PackAttention(spec, {}).status().message(),
              HasSubstr("\"fma.open_units\" is 1025; allowed: up to 1024 on a CUDA device"));
  spec.open_units = 16;
  spec.open_size = 256;
  EXPECT_THAT(backend().PackAttention(spec, {}).status().message(),
              HasSubstr("\"fma.open_size\" is 256, with 4 query heads of 128 channels"));
}

FMA_ON_BACKENDS(CudaOpenTest, CudaBackendNames);

}  // namespace
}  // namespace fmaserver::testing
