// What changes a model's logits before a token is drawn from them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sampling.h"
#include "server/engine/request.h"
#include "server/engine/token_counts.h"

namespace fmaserver::engine {

/// The filters of one sequence that also affect greedy sampling. They apply in this order: allowed
/// and banned tokens, logit bias, repetition, frequency and presence penalty.
class LogitFilters {
 public:
  /// `prompt` need not outlive the constructor.
  LogitFilters(const SamplingParams& params, std::span<const int32_t> prompt);

  /// Whether Apply changes anything.
  bool Active() const {
    return !allowed_.empty() || !banned_.empty() || !bias_.empty() || penalizes_;
  }

  /// Changes `logits` [V]; a token that must not be drawn gets minus infinity.
  void Apply(std::span<float> logits) const;

  /// Describes these filters in `row`, with spans that are valid until the next call.
  void Describe(kernels::RowSampling& row);

  /// Says that `token` was drawn.
  void AddGenerated(int32_t token) {
    if (penalizes_) counts_.AddGenerated(token);
  }

 private:
  void KeepAllowed(std::span<float> logits) const;
  void Penalize(std::span<float> logits) const;

  std::vector<int32_t> allowed_;  // sorted, each once; empty: all
  std::vector<int32_t> banned_;   // sorted, each once
  std::vector<kernels::TokenValue> bias_;
  float repetition_penalty_;
  float frequency_penalty_;
  float presence_penalty_;
  bool penalizes_;
  TokenCounts counts_;                             // empty unless penalizes_
  std::vector<kernels::TokenValue> count_values_;  // counts_ as Describe() gives them
};

/// Sets the logit of each of `tokens` to minus infinity.
void Ban(std::span<const int32_t> tokens, std::span<float> logits);

}  // namespace fmaserver::engine
