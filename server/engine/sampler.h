// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/request.h"

namespace fmaserver {

/// Natural logarithms of the probabilities under the plain softmax of `logits`.
class LogProbabilities {
 public:
  /// Does not own `logits`.
  explicit LogProbabilities(std::span<const float> logits);

  float Of(int32_t token) const {
    return static_cast<float>(static_cast<double>(logits_[token]) - log_sum_);
  }

  /// The `count` most likely tokens, best first; equals in order of their ids.
  std::vector<TokenLogprob> Top(int32_t count) const;

 private:
  std::span<const float> logits_;
  double log_sum_ = 0;  // of exp(logit)
};

/// Draws tokens of one sequence. Its whole state is (seed, tokens drawn): draw i of a seed is the
/// same whatever came before.
class Sampler {
 public:
  Sampler(const SamplingParams& params, uint64_t seed) : params_(params), seed_(seed) {}

  /// One token from logits [V]. Filters apply in the order temperature, top_k, top_p; among equal
  /// logits the lower id counts as more likely. INTERNAL when the logits are not finite.
  absl::StatusOr<int32_t> Sample(std::span<const float> logits);

 private:
  /// Uniform in [0, 1).
  double NextUniform();

  SamplingParams params_;
  uint64_t seed_;
  uint64_t drawn_ = 0;
};

}  // namespace fmaserver
