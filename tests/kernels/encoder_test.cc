// The attention of encoders against its definition, on every instruction set.
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
  /// What one call gives for several sequences, [tokens of all, H*d]. All memory that it works in
  /// is NaN before.
  static std::vector<float> Attend(kernels::Backend& backend, const ReferenceAttention& layer,
                                   const Sequences& sequences) {
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
    backend.BeginStep(spec, {});
    EXPECT_TRUE(backend.AttendBothWays(*weights, lengths, input, **workspace, out).ok());
    EXPECT_TRUE(backend.EndStep().ok());
    return out.Read();
  }
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
  for (int round = 0; round < 120; ++round) {
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
    spec.hierarchy = {150, 75, 2, 0};
    spec.causal = false;
    spec.query_downsampling = by_share;
    const ReferenceAttention layer = RandomAttention(spec, random);
    const Sequences sequences = RandomSequences(spec, {{700}}, random);
    const std::vector<float> found = Attend(backend(), layer, sequences);
    const std::vector<double> expected = ReferenceEncoder(layer, sequences[0]).Evaluate();
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(found[i], expected[i], 3e-5) << "at " << i;
    }
  }
}

TEST_P(EncoderTest, NeitherNeighboursNorThreadsChangeABit) {
  std::mt19937 random(3);
  const auto alone = kernels::MakeCpuBackend(1, GetParam() == "cpu_AMX");
  const auto many = kernels::MakeCpuBackend(5, GetParam() == "cpu_AMX");
  for (int round = 0; round < 25; ++round) {
    const kernels::AttentionSpec spec = RandomEncoderSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    std::vector<int64_t> lengths = {1, 40, 3, 170, 2, 65};
    std::shuffle(lengths.begin(), lengths.end(), random);
    const Sequences sequences = RandomSequences(spec, lengths, random);
    std::vector<float> expected;
    for (const std::vector<float>& sequence : sequences) {
      const auto one = Attend(**alone, layer, {sequence});
      expected.insert(expected.end(), one.begin(), one.end());
    }
    EXPECT_EQ(Attend(backend(), layer, sequences), expected);
    EXPECT_EQ(Attend(**many, layer, sequences), expected);
  }
}

FMA_ON_BACKENDS(EncoderTest, CpuBackendNames);

/// How many scores against summaries the CPU computes for one sequence.
int64_t FarScores(const ReferenceAttention& layer, const std::vector<float>& qkv) {
  const kernels::AttentionSpec& spec = layer.spec;
  const int64_t length = static_cast<int64_t>(qkv.size()) / spec.QkvColumns();
  const auto backend = kernels::MakeCpuBackend(1);
  const auto weights = PackFor(**backend, layer);
  kernels::ThreadPool pool(2);
  std::vector<float> rows = qkv;
  std::vector<float> out(length * spec.num_heads * spec.head_dim);
  const kernels::cpu::EncoderLayout layout(spec, kernels::cpu::EncoderPlan(spec, {{length}}), 2);
  const auto memory = kernels::AllocateAligned<float>(layout.floats);
  return kernels::cpu::AttendBothWays(
      pool, static_cast<const kernels::cpu::PackedAttention&>(*weights), {{length}},
      {rows.data(), length, spec.QkvColumns()}, memory.get(),
      {out.data(), length, int64_t{spec.num_heads} * spec.head_dim});
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

class CudaEncoderTest : public BackendTest {};

TEST_P(CudaEncoderTest, SaysThatItRunsNone) {
  std::mt19937 random(6);
  const ReferenceAttention layer = RandomAttention(RandomEncoderSpec(random), random);
  const auto packed = backend().PackAttention(layer.spec, HostLayer(layer).view());
  EXPECT_TRUE(absl::IsUnimplemented(packed.status())) << packed.status();
  EXPECT_NE(packed.status().message().find("fma.causal"), absl::string_view::npos);
}

FMA_ON_BACKENDS(CudaEncoderTest, CudaBackendNames);

}  // namespace
}  // namespace fmaserver::testing
