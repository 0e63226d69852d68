#include "kernels/host/attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/host/host_element.h"

namespace fmaserver::kernels {
namespace {

/// Turns Conv1d's [d*p, taps] into [taps, p, D], and for conv [d*p, d, w] into [w, p, d, D].
void PackOne(const AttentionSpec& spec, const HostDownsampling& source,
             const DownsamplingLayout& at, int index, float* packed) {
  const int64_t rank = spec.hierarchy.rank;
  const int64_t padded = at.vector / rank;
  const int64_t inputs = source.weight.cols / at.mixed;
  for (int64_t c = 0; c < spec.head_dim; ++c) {
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

}  // namespace

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

std::vector<double> RotaryFrequencies(const AttentionSpec& spec, std::span<const double> factors) {
  std::vector<double> frequencies;
  if (spec.positions != PositionEmbedding::kRope) return frequencies;
  for (int32_t i = 0; i < spec.head_dim / 2; ++i) {
    const double frequency = std::pow(spec.rope_theta, -2.0 * i / spec.head_dim);
    frequencies.push_back(factors.empty() ? frequency : frequency / factors[i]);
  }
  return frequencies;
}

float QueryScale(const AttentionSpec& spec) {
  const double factor = spec.rope_attention_factor;
  return static_cast<float>(factor * factor) / std::sqrt(static_cast<float>(spec.head_dim));
}

void PackDownsampling(const AttentionSpec& spec, const HostAttention& weights,
                      const DownsamplingLayout& at, float* packed) {
  for (int index = 0; index < NumDownsamplingWeights(spec); ++index) {
    PackOne(spec, weights.keys[index], at, index, packed);
    PackOne(spec, weights.values[index], at, index, packed + at.floats);
    if (spec.query_downsampling) {
      PackOne(spec, weights.queries[index], at, index, packed + 2 * at.floats);
    }
  }
}

}  // namespace fmaserver::kernels
