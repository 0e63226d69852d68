// How an attention layer's weights are prepared for any backend.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/host/downsampling_layout.h"

namespace fmaserver::kernels {

/// Added to the scores of every query head and level, [H, L]: the level's bias and ln c_l.
std::vector<float> FarBiases(const AttentionSpec& spec, const HostMatrix& level_bias);

/// Angle of each pair of channels per token, in radians, [d/2]: theta^(-2i/d) / factors[i]. Empty
/// without rotary positions.
std::vector<double> RotaryFrequencies(const AttentionSpec& spec, std::span<const double> factors);

/// What queries are multiplied by before they meet keys: 1/sqrt(d), with rotary positions
/// a^2/sqrt(d).
float QueryScale(const AttentionSpec& spec);

/// Writes the downsampling weights of keys, then of values, then with query_downsampling of
/// queries, laid out as `at` says, to `packed` [2 or 3, at.floats], which must hold zeros.
void PackDownsampling(const AttentionSpec& spec, const HostAttention& weights,
                      const DownsamplingLayout& at, float* packed);

}  // namespace fmaserver::kernels
