// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/sampling.h"
#include "server/engine/logit_filters.h"
#include "server/engine/request.h"

namespace fmaserver::engine {

/// Natural logarithms of the probabilities under the plain softmax of `logits`.
class LogProbabilities {
 public:
  /// Does not own `logits`.
  explicit LogProbabilities(std::span<const float> logits);

  float Of(int32_t token) const {
    return static_cast<float>(static_cast<double>(logits_[token]) - log_sum_);
  }

  /// The `count` most likely tokens, best first; equally likely ones in order of their ids.
  std::vector<TokenLogprob> Top(int32_t count) const;

 private:
  std::span<const float> logits_;
  double log_sum_ = 0;  // of exp(logit)
};

/// INTERNAL: says that no token can be chosen because the logits are not finite.
absl::Status LogitsNotFinite();

/// Draws tokens of one sequence. Its whole state is (seed, tokens drawn, counts for penalties): the
/// random number of draw i of a seed is the same whatever came before.
class Sampler {
 public:
  /// The penalties count the tokens of `prompt` too. `prompt` need not outlive the constructor.
  Sampler(const SamplingParams& params, uint64_t seed, std::span<const int32_t> prompt);

  /// Draws a token from logits [V], never one of `suppressed`. Filters apply in the order that
  /// SamplingParams gives; among equal logits the lower id counts as more likely. INTERNAL when the
  /// logits are not finite.
  absl::StatusOr<int32_t> Sample(std::span<const float> logits,
                                 std::span<const int32_t> suppressed = {});

  /// Describes the same choice, to be made where the logits are: RowSampler::Sample draws the token
  /// that Sample would draw, and Skip must follow. Has spans into this sampler, valid until its
  /// next call.
  kernels::RowSampling Describe(std::span<const int32_t> suppressed = {});

  /// As if Sample had drawn `token`: it counts for the penalties and uses up one random number.
  void Skip(int32_t token) {
    filters_.AddGenerated(token);
    ++drawn_;
  }

 private:
  absl::StatusOr<int32_t> Choose(std::span<const float> logits);

  /// The random number of the next draw, in [0, 1).
  double NextUniform() const;

  const float temperature_;
  const int32_t top_k_;
  const float top_p_;
  const float min_p_;
  LogitFilters filters_;
  uint64_t seed_;
  uint64_t drawn_ = 0;
  std::vector<int32_t> banned_;  // what Describe() points at
};

}  // namespace fmaserver::engine
