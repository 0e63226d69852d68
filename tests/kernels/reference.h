// Plain, slow definitions of the backend's operations in float64, straight from docs/model.md. No
// cache, no blocks: every query is evaluated from scratch over the whole sequence.
#pragma once

#include <cstdint>
#include <span>
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
  int part;  ///< kernels::AttentionParts
  double score;
  std::vector<double> value;  ///< empty: zeros
  double count = 1;
};

/// The softmax weights of the items, each with its count, and their weighted sum of values.
struct ReferenceSoftmax {
  ReferenceSoftmax(const std::vector<ReferenceItem>& items, int dim);
  std::vector<double> weights;
  std::vector<double> out;

  /// Adds the weights of `items` by part.
  void AddShares(const std::vector<ReferenceItem>& items, std::span<double> shares) const;
};

/// What rows give.
struct ReferenceRows {
  std::vector<double> out;     ///< [rows, H*d]
  std::vector<double> shares;  ///< [rows, K, parts], summed over the query heads of a KV head
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
  std::vector<double> rope_factors;            ///< [d/2]; empty: 1
  std::vector<ReferenceDownsampling> queries;  ///< with query_downsampling

  /// What the whole sequence qkv [n, (H + 2K) d] gives. Of models that select tokens only the rows
  /// before a choice that rounding could turn (reference_select.h).
  ReferenceRows EvaluateRows(const std::vector<float>& qkv) const;

  /// The output of EvaluateRows().
  std::vector<double> Evaluate(const std::vector<float>& qkv) const {
    return EvaluateRows(qkv).out;
  }

  /// Vector `column` (of queries, then keys, then values) of a token, normed where heads are.
  std::vector<double> Vector(const std::vector<float>& qkv, int64_t position, int64_t column) const;
  std::vector<double> Rotate(std::vector<double> x, double position) const;
  double LevelBias(int head, int level) const;
  /// The p summaries that learned weights make of a group's inputs.
  std::vector<std::vector<double>> Downsample(const ReferenceDownsampling& weights,
                                              const std::vector<std::vector<double>>& inputs) const;
  /// What products of queries and keys are multiplied by.
  double ScoreScale() const;

 private:
  /// Adds row `position`; not of models that select tokens.
  void AddRow(const std::vector<float>& qkv, int64_t position, ReferenceRows& rows) const;
  std::vector<std::vector<double>> Summaries(const std::vector<float>& qkv, bool of_keys,
                                             int kv_head, int level, int64_t group) const;
};

}  // namespace fmaserver::testing
