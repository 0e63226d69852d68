#include "kernels/cuda/attention_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <span>
#include <utility>
#include <vector>

#include "kernels/cpu/scalar.h"

namespace fmaserver::kernels::cuda {
namespace {

/// From Conv1d's [d*p, taps] to what DownsamplingLayout says.
void PackOne(const AttentionSpec& spec, const HostDownsampling& source, int index, float* packed) {
  const DownsamplingLayout at(spec);
  const int64_t rank = spec.hierarchy.rank;
  const int64_t dim = spec.head_dim;
  const int64_t padded = at.vector / rank;
  const int64_t inputs = source.weight.cols / at.mixed;
  for (int64_t c = 0; c < dim; ++c) {
    for (int64_t r = 0; r < rank; ++r) {
      packed[at.Bias(index) + r * padded + c] = ElementAsFloat(source.bias, c * rank + r);
      for (int64_t from = 0; from < at.mixed; ++from) {
        for (int64_t i = 0; i < inputs; ++i) {
          packed[at.Taps(index, i) + (r * at.mixed + from) * padded + c] =
              ElementAsFloat(source.weight, ((c * rank + r) * at.mixed + from) * inputs + i);
        }
      }
    }
  }
}

std::vector<float> FarBiases(const AttentionSpec& spec, const HostMatrix& level_bias) {
  std::vector<float> biases;
  for (int32_t head = 0; head < spec.num_heads; ++head) {
    for (int level = 1; level <= spec.hierarchy.num_levels; ++level) {
      float bias = 0;
      if (level_bias.data != nullptr) {
        const int64_t column = std::min<int64_t>(level, level_bias.cols) - 1;
        bias = ElementAsFloat(level_bias, head * level_bias.cols + column);
      }
      if (spec.scale_far_field) {
        bias += std::log(static_cast<float>(spec.hierarchy.TokensPerSummary(level)));
      }
      biases.push_back(bias);
    }
  }
  return biases;
}

/// Device memory with `values`; none for none.
template <typename T>
absl::StatusOr<Memory> Upload(std::span<const T> values, Stream& stream) {
  if (values.empty()) return Memory();
  const auto bytes = static_cast<int64_t>(values.size_bytes());
  auto device = Memory::Allocate(Memory::Kind::kDevice, bytes);
  if (!device.ok()) return device.status();
  absl::Status status = stream.CopyToDevice(device->data(), values.data(), bytes);
  status.Update(stream.Synchronize());
  if (!status.ok()) return status;
  return device;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PackedAttention>> PackedAttention::Pack(const AttentionSpec& spec,
                                                                       const HostAttention& weights,
                                                                       Stream& stream) {
  const DownsamplingLayout at(spec);
  auto staging = Memory::Allocate(Memory::Kind::kPinned,
                                  std::max<int64_t>(1, 2 * at.floats) * int64_t{sizeof(float)});
  if (!staging.ok()) return staging.status();
  std::memset(staging->data(), 0, static_cast<size_t>(staging->bytes()));
  auto* floats = staging->As<float>();
  for (int index = 0; index < NumDownsamplingWeights(spec); ++index) {
    PackOne(spec, weights.keys[index], index, floats);
    PackOne(spec, weights.values[index], index, floats + at.floats);
  }
  std::vector<double> frequencies;
  for (int32_t i = 0; spec.positions == PositionEmbedding::kRope && i < spec.head_dim / 2; ++i) {
    frequencies.push_back(std::pow(spec.rope_theta, -2.0 * i / spec.head_dim) /
                          (2 * std::numbers::pi));
  }
  const std::vector<float> biases = FarBiases(spec, weights.level_bias);

  auto packed = std::make_unique<PackedAttention>();
  auto downsampling =
      Upload(std::span<const float>(floats, static_cast<size_t>(2 * at.floats)), stream);
  auto far_bias = Upload(std::span<const float>(biases), stream);
  auto turns = Upload(std::span<const double>(frequencies), stream);
  for (const absl::Status& status : {downsampling.status(), far_bias.status(), turns.status()}) {
    if (!status.ok()) return status;
  }
  packed->downsampling_ = *std::move(downsampling);
  packed->far_bias_ = *std::move(far_bias);
  packed->frequencies_ = *std::move(turns);
  packed->view = {spec, at, packed->downsampling_.As<float>(), packed->far_bias_.As<float>(),
                  packed->frequencies_.As<double>()};
  return packed;
}

}  // namespace fmaserver::kernels::cuda
