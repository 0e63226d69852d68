// The attention of encoders against its definition, on every backend.
#include "kernels/cpu/encoder_attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/kernels/backends.h"
#include "tests/kernels/random_attention.h"
#include "tests/kernels/reference_encoder.h"

namespace fmaserver::testing {
namespace {

using Sequences = std::vector<std::vector<float>>;

class EncoderTest : public BackendTest {
 protected:
  /// What several sequences get, [tokens of all, H*d], in pieces of `piece` tokens' work. All
  /// memory that is worked in is NaN before.
  static std::vector<float> Attend(kernels::Backend& backend, const ReferenceAttention& layer,
                                   const Sequences& sequences, int64_t piece = kAtOnce) {
    const kernels::AttentionSpec& spec = layer.spec;
    const auto weights = PackFor(backend, layer);
    std::vector<int64_t> lengths;
    std::vector<float> qkv;
    for (const std::vector<float>& sequence : sequences) {
      lengths.push_back(static_cast<int64_t>(sequence.size()) / spec.QkvColumns());
      qkv.insert(qkv.end(), sequence.begin(), sequence.end());
    }
    const int64_t rows = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
    const DeviceMatrix input(backend, rows, qkv);
    const DeviceMatrix out(backend, rows, int64_t{spec.num_heads} * spec.head_dim);
    const auto workspace = backend.Allocate(backend.BothWaysBytes(spec, lengths));
    EXPECT_TRUE(workspace.ok()) << workspace.status();
    std::fill_n((*workspace)->data, (*workspace)->bytes, std::byte{0xFF});
    kernels::BothWays work{lengths, input, workspace->get(), out};
    while (!work.done) {
      backend.BeginStep(spec, {});
      EXPECT_GE(backend.AttendBothWays(*weights, piece, work), 1);
      EXPECT_TRUE(backend.EndStep().ok());
    }
    return out.Read();
  }

  static constexpr int64_t kAtOnce = int64_t{1} << 40;
};

Sequences RandomSequences(const kernels::AttentionSpec& spec, std::span<const int64_t> lengths,
                          std::mt19937& random) {
  Sequences sequences;
  for (const int64_t length : lengths) {
    sequences.push_back(RandomFloats(length * spec.QkvColumns(), 1.0F, random));
  }
  return sequences;
}

TEST_P(EncoderTest, EqualsTheDefinition) {
  std::mt19937 random(1);
  for (int round = 0; round < Rounds(120); ++round) {
    const kernels::AttentionSpec spec = RandomEncoderSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    // Also past what the levels reach.
    const auto most = std::min<int64_t>(spec.hierarchy.Horizon() * 3 / 2, 110);
    const int64_t length = round % 8 == 0 ? 1 : 1 + static_cast<int64_t>(random() % most);
    SCOPED_TRACE(length);
    const Sequences sequences = RandomSequences(spec, {{length}}, random);
    const std::vector<float> found = Attend(backend(), layer, sequences);
    const std::vector<double> expected = ReferenceEncoder(layer, sequences[0]).Evaluate();
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(found[i], expected[i], 3e-5) << "at " << i;
    }
  }
}

/// Groups larger than a block of queries, and ranks larger than one of shares.
TEST_P(EncoderTest, LargeGroupsEqualTheDefinition) {
  std::mt19937 random(2);
  for (const bool by_share : {false, true}) {
    kernels::AttentionSpec spec;
    spec.num_heads = 2;
    spec.num_kv_heads = 1;
    spec.head_dim = 4;
    const int32_t half = IsCuda() ? 20 : 75;
    spec.hierarchy = {2 * half, half, 2, 0};
    spec.causal = false;
    spec.query_downsampling = by_share;
    const ReferenceAttention layer = RandomAttention(spec, random);
    const Sequences sequences = RandomSequences(spec, {{9 * half + 25}}, random);
    const std::vector<float> found = Attend(backend(), layer, sequences);
    const std::vector<double> expected = ReferenceEncoder(layer, sequences[0]).Evaluate();
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(found[i], expected[i], 3e-5) << "at " << i;
    }
  }
}

TEST_P(EncoderTest, NeitherNeighboursNorThreadsChangeABit) {
  std::mt19937 random(3);
  std::vector<std::unique_ptr<kernels::Backend>> others;
  for (const int threads : {1, 5}) {
    if (IsCuda()) continue;
    others.push_back(*kernels::MakeCpuBackend(threads));
  }
  for (int round = 0; round < Rounds(25); ++round) {
    const kernels::AttentionSpec spec = RandomEncoderSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    std::vector<int64_t> lengths = {1, 40, 3, 170, 2, 65};
    std::shuffle(lengths.begin(), lengths.end(), random);
    const Sequences sequences = RandomSequences(spec, lengths, random);
    std::vector<float> expected;
    for (const std::vector<float>& sequence : sequences) {
      const auto one = Attend(backend(), layer, {sequence});
      expected.insert(expected.end(), one.begin(), one.end());
    }
    EXPECT_EQ(Attend(backend(), layer, sequences), expected);
    for (const auto& other : others) EXPECT_EQ(Attend(*other, layer, sequences), expected);
  }
}

TEST_P(EncoderTest, NoDivisionChangesABit) {
  std::mt19937 random(7);
  for (int round = 0; round < Rounds(25); ++round) {
    const kernels::AttentionSpec spec = RandomEncoderSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const Sequences sequences = RandomSequences(spec, {{1, 90, 30}}, random);
    const std::vector<float> expected = Attend(backend(), layer, sequences);
    // A GPU does more at the same time.
    for (const int64_t piece :
         IsCuda() ? std::vector<int64_t>{1} : std::vector<int64_t>{1, 5, 50}) {
      ASSERT_EQ(Attend(backend(), layer, sequences, piece), expected) << piece;
    }
  }
}

FMA_ON_BACKENDS(EncoderTest, BackendNames);

/// How many scores against summaries the CPU computes for one sequence, piece by piece.
std::vector<int64_t> FarScoresOfPieces(const ReferenceAttention& layer,
                                       const std::vector<float>& qkv, int64_t piece) {
  const kernels::AttentionSpec& spec = layer.spec;
  const int64_t length = static_cast<int64_t>(qkv.size()) / spec.QkvColumns();
  const auto backend = kernels::MakeCpuBackend(1);
  const auto weights = PackFor(**backend, layer);
  kernels::ThreadPool pool(2);
  std::vector<float> rows = qkv;
  std::vector<float> out(length * spec.num_heads * spec.head_dim);
  const std::vector<int64_t> lengths = {length};
  const kernels::cpu::EncoderLayout layout(spec, kernels::EncoderPlan(spec, lengths), 2);
  const auto workspace = (*backend)->Allocate(layout.floats * int64_t{sizeof(float)});
  kernels::BothWays work{lengths,
                         {rows.data(), length, spec.QkvColumns()},
                         workspace->get(),
                         {out.data(), length, int64_t{spec.num_heads} * spec.head_dim}};
  std::vector<int64_t> scores;
  while (!work.done) {
    const auto& packed = static_cast<const kernels::cpu::PackedAttention&>(*weights);
    scores.push_back(kernels::cpu::AttendBothWays(pool, packed, piece, work).scores);
  }
  return scores;
}

int64_t FarScores(const ReferenceAttention& layer, const std::vector<float>& qkv) {
  const std::vector<int64_t> scores = FarScoresOfPieces(layer, qkv, 1000);
  return std::accumulate(scores.begin(), scores.end(), int64_t{0});
}

/// No piece is longer because the text is.
TEST(EncoderScores, OfAPieceAreBounded) {
  std::mt19937 random(8);
  kernels::AttentionSpec spec;
  spec.num_heads = 2;
  spec.num_kv_heads = 1;
  spec.head_dim = 4;
  spec.hierarchy = {16, 4, 12, 0};
  spec.causal = false;
  const int64_t length = 1 << 15;
  for (const bool by_share : {false, true}) {
    spec.query_downsampling = by_share;
    const ReferenceAttention layer = RandomAttention(spec, random);
    const auto qkv = RandomFloats(length * spec.QkvColumns(), 1.0F, random);
    const int64_t piece = 256;
    const std::vector<int64_t> scores = FarScoresOfPieces(layer, qkv, piece);
    EXPECT_GT(std::ssize(scores), length / piece);
    const int64_t most_of_a_query = 3 * spec.hierarchy.rank * (by_share ? 1 : 12);
    EXPECT_LE(std::ranges::max(scores), piece * spec.num_heads * most_of_a_query);
  }
}

TEST(EncoderScores, AreThoseOfTheDefinition) {
  std::mt19937 random(4);
  for (int round = 0; round < 40; ++round) {
    const kernels::AttentionSpec spec = RandomEncoderSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const int64_t length = 1 + static_cast<int64_t>(random() % 100);
    const auto qkv = RandomFloats(length * spec.QkvColumns(), 1.0F, random);
    EXPECT_EQ(FarScores(layer, qkv), ReferenceEncoder(layer, qkv).FarScores());
  }
}

/// Each of n tokens meets every level; of 1/16 n shares at level 1 half as many are at the next.
TEST(EncoderScores, OfSharesGrowLikeTheText) {
  std::mt19937 random(5);
  kernels::AttentionSpec spec;
  spec.num_heads = spec.num_kv_heads = 1;
  spec.head_dim = 4;
  spec.hierarchy = {64, 4, 12, 0};
  spec.downsampling = kernels::Downsampling::kAverage;
  spec.causal = false;
  for (const bool by_share : {false, true}) {
    spec.query_downsampling = by_share;
    const ReferenceAttention layer = RandomAttention(spec, random);
    const auto scores = [&](int64_t length) {
      return FarScores(layer, RandomFloats(length * spec.QkvColumns(), 1.0F, random));
    };
    const int64_t most_of_a_token = 3 * spec.hierarchy.rank;
    if (by_share) {
      EXPECT_LT(scores(1 << 14), (1 << 14) / 16 * 2 * most_of_a_token);
      EXPECT_LT(scores(1 << 16), (1 << 16) / 16 * 2 * most_of_a_token);
    } else {
      EXPECT_GT(scores(1 << 14), (1 << 14) * 6 * most_of_a_token);
    }
  }
}

TEST(EncoderWorkspace, GrowsLikeTheText) {
  kernels::AttentionSpec spec;
  spec.num_heads = spec.num_kv_heads = 2;
  spec.head_dim = 64;
  spec.hierarchy = {64, 4, 20, 0};
  spec.causal = false;
  spec.query_downsampling = true;
  const auto backend = kernels::MakeCpuBackend(2);
  const auto bytes = [&](int64_t length) { return (*backend)->BothWaysBytes(spec, {{length}}); };
  const int64_t of_scratch = bytes(64 * 12);  // and little else
  EXPECT_NEAR(static_cast<double>(bytes(1 << 20) - of_scratch) / (bytes(1 << 16) - of_scratch), 16,
              0.5);
}

}  // namespace
}  // namespace fmaserver::testing
