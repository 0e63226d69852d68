// The CUDA attention under the block emulator, against the definition.
#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_weights.h"
#include "kernels/cuda/runtime.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {
namespace {

using cuda::Memory;

/// Runs steps of one layer on the emulated device.
class Device {
 public:
  Device(const ReferenceAttention& layer, DType dtype)
      : spec_(layer.spec), layout_(layer.spec, 1, dtype) {
    const HostLayer host(layer);
    auto packed = cuda::PackedAttention::Pack(spec_, host.view(), *stream_);
    EXPECT_TRUE(packed.ok()) << packed.status();
    weights_ = *std::move(packed);
  }

  const SlotLayout& layout() const { return layout_; }
  Memory NewSlot() { return *Memory::Allocate(Memory::Kind::kDevice, layout_.slot_bytes); }

  struct Part {
    std::byte* slot;
    int64_t position;
    int32_t rows;
    const std::vector<float>* qkv;  // of the whole sequence
  };

  /// One step; returns [rows of all parts, H*d].
  std::vector<float> Step(const std::vector<Part>& parts) {
    std::vector<Segment> segments;
    std::vector<float> qkv;
    for (const Part& part : parts) {
      segments.push_back({part.slot, part.position, part.rows});
      const auto first = part.qkv->begin() + part.position * spec_.QkvColumns();
      qkv.insert(qkv.end(), first, first + part.rows * spec_.QkvColumns());
    }
    const int64_t rows = static_cast<int64_t>(qkv.size()) / spec_.QkvColumns();
    const cuda::AttentionPlan plan(spec_, layout_, segments);
    const Memory input = Upload(qkv);
    const Memory decode = Upload(plan.decode);
    const int64_t columns = int64_t{spec_.num_heads} * spec_.head_dim;
    const Memory output = *Memory::Allocate(Memory::Kind::kDevice, rows * columns * 4);
    const cuda::DevicePlan on_device = {decode.As<cuda::DecodeRow>(),
                                        static_cast<int64_t>(plan.decode.size())};
    const absl::Status status = cuda::LaunchAttention(
        *stream_, weights_->view, layout_, on_device, 0,
        {input.As<float>(), rows, spec_.QkvColumns()}, {output.As<float>(), rows, columns});
    EXPECT_TRUE(status.ok()) << status;
    std::vector<float> out(rows * columns);
    EXPECT_TRUE(stream_->CopyToHost(out.data(), output.data(), output.bytes()).ok());
    EXPECT_TRUE(stream_->Synchronize().ok());
    return out;
  }

  /// Feeds a whole sequence in pieces of `chunk()` rows.
  template <typename Chunk>
  std::vector<float> Feed(const std::vector<float>& qkv, Chunk chunk) {
    const Memory slot = NewSlot();
    const auto n = static_cast<int64_t>(qkv.size()) / spec_.QkvColumns();
    std::vector<float> out;
    for (int64_t position = 0; position < n;) {
      const auto rows = static_cast<int32_t>(std::min<int64_t>(chunk(), n - position));
      const auto part = Step({{slot.data(), position, rows, &qkv}});
      out.insert(out.end(), part.begin(), part.end());
      position += rows;
    }
    return out;
  }

 private:
  template <typename T>
  Memory Upload(const std::vector<T>& values) {
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
    if (bytes == 0) return {};
    Memory memory = *Memory::Allocate(Memory::Kind::kDevice, bytes);
    EXPECT_TRUE(stream_->CopyToDevice(memory.data(), values.data(), bytes).ok());
    EXPECT_TRUE(stream_->Synchronize().ok());
    return memory;
  }

  AttentionSpec spec_;
  SlotLayout layout_;
  std::unique_ptr<cuda::Stream> stream_ = *cuda::Stream::Create();
  std::unique_ptr<cuda::PackedAttention> weights_;
};

double LargestDifference(const std::vector<float>& a, const std::vector<double>& b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    if (!(difference <= largest)) largest = difference;  // NaN sticks
  }
  return largest;
}

TEST(CudaAttentionTest, DecodeEqualsTheDefinitionOverSeveralHorizons) {
  std::mt19937 random(1);
  for (int round = 0; round < 60; ++round) {
    const AttentionSpec spec = RandomSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    Device device(layer, DType::kF32);
    const int64_t n = std::min<int64_t>(2 * spec.hierarchy.Horizon() + 5, 150);
    const auto qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    ASSERT_LE(LargestDifference(device.Feed(qkv, [] { return 1; }), layer.Evaluate(qkv)), 2e-5);
  }
}

TEST(CudaAttentionTest, Bf16CacheStaysWithinItsRounding) {
  std::mt19937 random(5);
  for (int round = 0; round < 20; ++round) {
    const AttentionSpec spec = RandomSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    Device device(layer, DType::kBF16);
    const auto qkv = RandomFloats(100 * spec.QkvColumns(), 1.0F, random);
    // Keys and values of size about 1 rounded to 8 bits, averaged by the softmax.
    ASSERT_LE(LargestDifference(device.Feed(qkv, [] { return 1; }), layer.Evaluate(qkv)), 0.05);
  }
}

}  // namespace
}  // namespace fmaserver::testing
