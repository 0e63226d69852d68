// Which units are opened of long archives, whatever their sketches say.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
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

constexpr std::array<float, 4> kLevels = {0.453F, -0.453F, 1.51F, -1.51F};

/// What one sketch says, before it is written.
struct Sketch {
  std::vector<float> means;
  std::vector<float> deviations;
  std::vector<float> factors;
  std::vector<uint8_t> codes;  // [tokens, d]

  /// The largest product of any of the queries [count, d] with a token from `sinks` on.
  double Score(std::span<const float> queries, int64_t sinks) const {
    const size_t dim = means.size();
    double best = -std::numeric_limits<double>::infinity();
    for (size_t query = 0; query < queries.size(); query += dim) {
      for (size_t token = static_cast<size_t>(sinks); token < factors.size(); ++token) {
        double sum = 0;
        for (size_t c = 0; c < dim; ++c) {
          const double level = kLevels[codes[token * dim + c]] * deviations[c];
          sum += queries[query + c] * (means[c] + factors[token] * level);
        }
        best = std::max(best, sum);
      }
    }
    return best;
  }
};

/// How unlike each other the channels and the units of an archive are.
struct Manner {
  float
      channels;  // deviations differ from channel to channel by e to so many times a normal number
  float units;   // and from unit to unit
  int rare;      // one of so many units has deviations many times as large; 0: none
};

class UnitChoiceTest : public AttentionTest {
 protected:
  int Rounds(int all) { return IsCuda() ? (all + 9) / 10 : all; }

  /// A model without positions, so that queries meet all units as they are.
  static kernels::AttentionSpec DrawSpec(std::mt19937& random) {
    constexpr std::array<int32_t, 5> kDims = {2, 16, 24, 64, 80};
    constexpr std::array<int32_t, 5> kSizes = {1, 8, 16, 32, 40};
    kernels::AttentionSpec spec;
    spec.num_kv_heads = 1 + static_cast<int32_t>(random() % 2);
    spec.num_heads = spec.num_kv_heads * (1 + static_cast<int32_t>(random() % 5));
    spec.head_dim = kDims[random() % kDims.size()];
    spec.open_size = kSizes[random() % kSizes.size()];
    spec.hierarchy.group_size = spec.open_size * (1 + static_cast<int32_t>(random() % 3));
    spec.hierarchy.rank = 1;
    spec.hierarchy.num_levels = 3;
    spec.hierarchy.sink_tokens =
        static_cast<int32_t>(random() % static_cast<uint32_t>(spec.hierarchy.group_size));
    spec.downsampling = kernels::Downsampling::kSelect;
    spec.positions = kernels::PositionEmbedding::kNone;
    spec.far_positions = kernels::FarPositions::kNone;
    spec.select_novel = 0;
    spec.open_units = 1 + static_cast<int32_t>(random() % 20);
    return spec;
  }

  template <typename T>
  Sketch DrawSketch(const kernels::SketchLayout& layout, std::span<const float> channels,
                    float scale, std::mt19937& random, std::byte* to) {
    std::normal_distribution<float> normal;
    const size_t dim = channels.size();
    auto* means = reinterpret_cast<T*>(to);
    auto* deviations = means + dim;
    auto* factors = deviations + dim;
    auto* codes = reinterpret_cast<uint8_t*>(to + layout.codes_offset);
    const auto tokens =
        static_cast<size_t>(layout.codes_offset - layout.factors_offset) / sizeof(T);
    Sketch sketch;
    for (size_t c = 0; c < dim; ++c) {
      means[c] = kernels::FromFloat<T>(channels[c] * normal(random));
      deviations[c] = kernels::FromFloat<T>(channels[c] * scale * (1 + 0.1F * normal(random)));
      sketch.means.push_back(kernels::ToFloat(means[c]));
      sketch.deviations.push_back(kernels::ToFloat(deviations[c]));
    }
    sketch.codes.resize(tokens * dim);
    std::fill_n(codes, (dim + 3) / 4 * tokens, uint8_t{0});
    for (size_t token = 0; token < tokens; ++token) {
      factors[token] = kernels::FromFloat<T>(1.1F + 0.1F * normal(random));
      sketch.factors.push_back(kernels::ToFloat(factors[token]));
      for (size_t c = 0; c < dim; ++c) {
        const auto code = static_cast<uint8_t>(random() % 4);
        sketch.codes[token * dim + c] = code;
        codes[c / 4 * tokens + token] |= static_cast<uint8_t>(code << c % 4 * 2);
      }
    }
    return sketch;
  }

  /// Fills the archive, and returns what it holds of each KV head.
  template <typename T>
  std::vector<std::vector<Sketch>> FillArchive(TestArchive& archive, int64_t groups,
                                               const Manner& manner, std::mt19937& random) {
    const kernels::ArchiveLayout& layout = archive.layout();
    std::normal_distribution<float> normal;
    std::vector<float> channels(static_cast<size_t>(layout.head_dim));
    for (float& channel : channels) channel = std::exp(manner.channels * normal(random));
    std::vector<std::vector<Sketch>> sketches(static_cast<size_t>(layout.num_kv_heads));
    for (int64_t i = 0; i < groups; ++i) {
      kernels::ArchiveGroup& group = *archive.groups()[i];
      std::vector<std::byte> bytes(static_cast<size_t>(layout.SketchBytes()));
      std::byte* to = bytes.data();
      for (auto& head : sketches) {
        for (int64_t unit = 0; unit < layout.UnitsPerGroup(); ++unit) {
          const bool rare = manner.rare > 0 && random() % static_cast<uint32_t>(manner.rare) == 0;
          const float scale = (rare ? 20.0F : 1.0F) * std::exp(manner.units * normal(random));
          head.push_back(DrawSketch<T>(layout.Sketch(), channels, scale, random, to));
          to += layout.Sketch().bytes;
        }
      }
      EXPECT_TRUE(backend().RestoreSketches(bytes, group).ok());
      std::fill_n(group.tokens, layout.TokenBytes(), std::byte{0});
    }
    return sketches;
  }

  /// One round. Returns how many choices were compared.
  template <typename T>
  int Compare(const kernels::AttentionSpec& spec, int32_t rows, const Manner& manner,
              std::mt19937& random) {
    SCOPED_TRACE(Describe(spec));
    const kernels::CacheType type =
        sizeof(T) == 4 ? kernels::CacheType::kF32 : kernels::CacheType::kBF16;
    const kernels::SlotLayout layout(spec, 1, type);
    const kernels::ArchiveLayout archived(spec, 1, type);
    const auto weights = *backend().PackAttention(spec, {});
    const int64_t groups = 2 + 700 / archived.UnitsPerGroup();
    const int64_t position = (groups + 1) * spec.hierarchy.group_size;
    auto qkv = RandomFloats((position + rows) * spec.QkvColumns(), 1.0F, random);
    TestArchive archive(archived);
    archive.Reach(backend(), position + rows);
    const auto sketches = FillArchive<T>(archive, groups, manner, random);
    const auto slot = SlotOfZeros(layout);
    const int64_t units = groups * archived.UnitsPerGroup();
    std::vector<float> sums(static_cast<size_t>(spec.num_kv_heads * units));
    Step(*weights, spec, {{slot.get(), position, rows, &qkv, false, &archive, sums}});
    int compared = 0;
    const auto* last = &qkv[(position + rows - 1) * spec.QkvColumns()];
    const int64_t heads = spec.QueriesPerKvHead();
    for (int64_t kv_head = 0; kv_head < spec.num_kv_heads; ++kv_head) {
      const std::span queries(last + kv_head * heads * spec.head_dim,
                              static_cast<size_t>(heads * spec.head_dim));
      const auto opened = std::span(sums).subspan(kv_head * units, units);
      compared += ExpectBest(spec, sketches[kv_head], queries, opened) ? 1 : 0;
    }
    return compared;
  }

  /// False: rounding could turn the choice.
  static bool ExpectBest(const kernels::AttentionSpec& spec, std::span<const Sketch> sketches,
                         std::span<const float> queries, std::span<const float> opened) {
    std::vector<double> scores;
    for (size_t unit = 0; unit < sketches.size(); ++unit) {
      const auto first = static_cast<int64_t>(unit) * spec.open_size;
      const int64_t sinks =
          std::clamp<int64_t>(spec.hierarchy.sink_tokens - first, 0, spec.open_size);
      scores.push_back(sketches[unit].Score(queries, sinks));
    }
    std::vector<size_t> order(scores.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
    const auto count = static_cast<size_t>(spec.open_units);
    const double least = scores[order[count - 1]];
    if (least - scores[order[count]] < 1e-3 * std::abs(least)) return false;
    for (size_t i = 0; i < order.size(); ++i) {
      EXPECT_EQ(opened[order[i]] > 0, i < count) << "unit " << order[i] << ", number " << i;
    }
    return true;
  }
};

constexpr std::array<Manner, 5> kManners = {
    Manner{0, 0, 0}, {0.5, 0.3, 0}, {2, 0.1, 0}, {0.3, 0.1, 30}, {1, 1.5, 0}};

TEST_P(UnitChoiceTest, TheBestOfManyAreOpened) {
  std::mt19937 random(1);
  int compared = 0;
  for (int round = 0; round < Rounds(60); ++round) {
    const Manner& manner = kManners[round % kManners.size()];
    const kernels::AttentionSpec spec = DrawSpec(random);
    const auto rows = 1 + static_cast<int32_t>(random() % spec.hierarchy.group_size);
    compared += round % 2 == 0 ? Compare<float>(spec, rows, manner, random)
                               : Compare<kernels::BFloat16>(spec, rows, manner, random);
  }
  EXPECT_GE(compared, Rounds(60));
}

/// Of shapes for which a single row has bounds of its own.
TEST_P(UnitChoiceTest, ASingleRowOpensTheBestOfMany) {
  std::mt19937 random(2);
  int compared = 0;
  for (int round = 0; round < Rounds(40); ++round) {
    const Manner& manner = kManners[round % kManners.size()];
    kernels::AttentionSpec spec = DrawSpec(random);
    spec.head_dim = round % 3 == 0 ? 128 : 64;
    spec.open_size = 32;
    spec.hierarchy.group_size = 32 * (1 + round % 2);
    spec.hierarchy.sink_tokens %= spec.hierarchy.group_size;
    compared += round % 4 < 2 ? Compare<float>(spec, 1, manner, random)
                              : Compare<kernels::BFloat16>(spec, 1, manner, random);
  }
  EXPECT_GE(compared, Rounds(40));
}

FMA_ON_EVERY_BACKEND(UnitChoiceTest);

}  // namespace
}  // namespace fmaserver::testing
