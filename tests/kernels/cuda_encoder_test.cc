// The attention of encoders on the emulated device, below the backend: heads of every width, and
// how many scores against summaries are computed.
#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/attention/attention_weights.h"
#include "kernels/cuda/buffers.h"
#include "kernels/cuda/encoder/encoder.h"
#include "kernels/cuda/runtime/runtime.h"
#include "tests/kernels/random_attention.h"
#include "tests/kernels/reference_encoder.h"

namespace fmaserver::testing {
namespace {

/// Runs one layer on the emulated device.
class CudaEncoderLayer {
 public:
  explicit CudaEncoderLayer(const ReferenceAttention& layer) : spec_(layer.spec) {
    const HostLayer host(layer);
    auto packed = kernels::cuda::PackedAttention::Pack(spec_, host.view(), *stream_);
    EXPECT_TRUE(packed.ok()) << packed.status();
    weights_ = *std::move(packed);
  }

  /// What one sequence gets, [tokens, H*d]; counts scores against summaries in far_scores().
  std::vector<float> Attend(const std::vector<float>& qkv) {
    const int64_t tokens = std::ssize(qkv) / spec_.QkvColumns();
    const int64_t columns = int64_t{spec_.num_heads} * spec_.head_dim;
    const std::vector<int64_t> lengths = {tokens};
    const kernels::EncoderPlan plan(spec_, lengths);
    const kernels::cuda::Memory numbers = Upload(plan.numbers());
    const kernels::cuda::Memory input = Upload(std::span<const float>(qkv));
    const kernels::cuda::Memory output = Allocate(tokens * columns * 4);
    const std::vector<unsigned long long> none = {0};
    const kernels::cuda::Memory scores = Upload(std::span(none));
    kernels::cuda::DeviceBuffer workspace(
        Allocate(kernels::cuda::EncoderMemoryLayout(spec_, plan.places()).floats * 4 + 4),
        std::make_shared<kernels::cuda::LiveBuffers>());
    kernels::BothWays work{lengths,
                           {input.As<float>(), tokens, spec_.QkvColumns()},
                           &workspace,
                           {output.As<float>(), tokens, columns}};
    const bool norms = weights_->view.query_norm != nullptr;
    kernels::RunPiece(spec_, plan, norms, int64_t{1} << 40, work,
                      [&](const kernels::EncoderTasks& tasks) {
                        auto operation = kernels::cuda::MakeEncoderOperation(
                            weights_->view, plan, numbers.As<int64_t>(), work, tasks);
                        operation.parameters.far_scores = scores.As<unsigned long long>();
                        EXPECT_TRUE(kernels::cuda::LaunchEncoder(*stream_, operation).ok());
                      });
    EXPECT_TRUE(work.done);
    std::vector<float> out(static_cast<size_t>(tokens * columns));
    EXPECT_TRUE(stream_->CopyToHost(out.data(), output.data(), output.bytes()).ok());
    EXPECT_TRUE(stream_->CopyToHost(&far_scores_, scores.data(), sizeof(far_scores_)).ok());
    EXPECT_TRUE(stream_->Synchronize().ok());
    return out;
  }

  int64_t far_scores() const { return static_cast<int64_t>(far_scores_); }

 private:
  static kernels::cuda::Memory Allocate(int64_t bytes) {
    return *kernels::cuda::Memory::Allocate(kernels::cuda::Memory::Kind::kDevice, bytes);
  }
  template <typename T>
  kernels::cuda::Memory Upload(std::span<const T> values) {
    const auto bytes = static_cast<int64_t>(values.size_bytes());
    kernels::cuda::Memory memory = Allocate(bytes);
    EXPECT_TRUE(stream_->CopyToDevice(memory.data(), values.data(), bytes).ok());
    EXPECT_TRUE(stream_->Synchronize().ok());
    return memory;
  }

  kernels::AttentionSpec spec_;
  std::unique_ptr<kernels::cuda::Stream> stream_ = *kernels::cuda::Stream::Create();
  std::unique_ptr<kernels::cuda::PackedAttention> weights_;
  unsigned long long far_scores_ = 0;
};

void ExpectTheEncoder(const kernels::AttentionSpec& spec, int64_t tokens, uint32_t seed) {
  SCOPED_TRACE(Describe(spec));
  std::mt19937 random(seed);
  const ReferenceAttention layer = RandomAttention(spec, random);
  const auto qkv = RandomFloats(tokens * spec.QkvColumns(), 1.0F, random);
  CudaEncoderLayer device(layer);
  const std::vector<float> found = device.Attend(qkv);
  ReferenceEncoder reference(layer, qkv);
  const std::vector<double> expected = reference.Evaluate();
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], 5e-5) << "at " << i;
  EXPECT_EQ(device.far_scores(), reference.FarScores());
}

/// Once for each share, where shares ask.
TEST(CudaEncoderTest, ScoresAreThoseOfTheDefinition) {
  std::mt19937 random(11);
  for (uint32_t round = 0; round < 12; ++round) {
    ExpectTheEncoder(RandomEncoderSpec(random), 1 + static_cast<int64_t>(random() % 60), round);
  }
}

/// Each width has as many queries and keys at the same time as shared memory holds.
TEST(CudaEncoderTest, HeadsMayBeOfEveryWidth) {
  for (const int32_t dim : {1, 7, 200, 512, 600, 1024}) {
    kernels::AttentionSpec spec;
    spec.num_heads = 2;
    spec.num_kv_heads = 1;
    spec.head_dim = dim;
    spec.hierarchy = {3, 3, 2, 0};
    spec.downsampling = kernels::Downsampling::kAverage;
    spec.positions =
        dim % 2 == 0 ? kernels::PositionEmbedding::kRope : kernels::PositionEmbedding::kNone;
    spec.causal = false;
    spec.query_downsampling = true;
    ExpectTheEncoder(spec, 14, static_cast<uint32_t>(dim));
  }
}

}  // namespace
}  // namespace fmaserver::testing
