// Plain, slow definitions of the backend's operations in float64, straight from docs/model.md. No
// cache, no blocks: every query is evaluated from scratch over the whole sequence.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/fma/spec.h"

namespace fmaserver::testing {

/// Conv1d layouts: weight [d*p, taps] (conv: [d*p, d, w]), bias [d*p].
struct ReferenceDownsampling {
  std::vector<float> weight;
  std::vector<float> bias;
};

struct ReferenceAttention {
  kernels::AttentionSpec spec;
  std::vector<ReferenceDownsampling> keys;
  std::vector<ReferenceDownsampling> values;
  std::vector<float> level_bias;  ///< [H, level_bias_columns]; empty: none
  int level_bias_columns = 0;

  /// The attention output [n, H*d] of the whole sequence qkv [n, (H + 2K) d].
  std::vector<double> Evaluate(const std::vector<float>& qkv) const;

  /// Row `position` of it.
  std::vector<double> EvaluateRow(const std::vector<float>& qkv, int64_t position) const;

 private:
  std::vector<std::vector<double>> Summaries(const std::vector<float>& qkv, bool of_keys,
                                             int kv_head, int level, int64_t group) const;
  std::vector<double> Vector(const std::vector<float>& qkv, int64_t position, int64_t column) const;
  std::vector<double> Rotate(std::vector<double> x, double position) const;
};

}  // namespace fmaserver::testing
