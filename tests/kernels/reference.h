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

/// One entry of a query's list.
struct ReferenceItem {
  double score;
  std::vector<double> value;  ///< empty: zeros
  double count = 1;
};

/// The softmax weights of the items, each with its count, and their weighted sum of values.
struct ReferenceSoftmax {
  ReferenceSoftmax(const std::vector<ReferenceItem>& items, int dim);
  std::vector<double> weights;
  std::vector<double> out;
};

double Dot(const std::vector<double>& a, const std::vector<double>& b);

struct ReferenceAttention {
  kernels::AttentionSpec spec;
  std::vector<ReferenceDownsampling> keys;
  std::vector<ReferenceDownsampling> values;
  std::vector<float> level_bias;  ///< [H, level_bias_columns]; empty: none
  int level_bias_columns = 0;
  std::vector<float> query_norm;  ///< [d] of every query head, as key_norm; empty: none
  std::vector<float> key_norm;
  float norm_eps = 0;
  std::vector<double> rope_factors;  ///< [d/2]; empty: 1

  /// The attention output [n, H*d] of the whole sequence qkv [n, (H + 2K) d]. Of models that select
  /// tokens only the rows before a choice that rounding could turn (reference_select.h).
  std::vector<double> Evaluate(const std::vector<float>& qkv) const;

  /// Row `position` of it; not of models that select tokens.
  std::vector<double> EvaluateRow(const std::vector<float>& qkv, int64_t position) const;

  /// Vector `column` (of queries, then keys, then values) of a token, normed where heads are.
  std::vector<double> Vector(const std::vector<float>& qkv, int64_t position, int64_t column) const;
  std::vector<double> Rotate(std::vector<double> x, double position) const;
  double LevelBias(int head, int level) const;
  /// What products of queries and keys are multiplied by.
  double ScoreScale() const;

 private:
  std::vector<std::vector<double>> Summaries(const std::vector<float>& qkv, bool of_keys,
                                             int kv_head, int level, int64_t group) const;
};

}  // namespace fmaserver::testing
