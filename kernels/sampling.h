// Choosing tokens where the logits are: the seam for backends whose logits are far from the host.
// Only the chosen ids and the log-probabilities that were asked for come back.
//
// The rules are those of server/engine/sampler.h: filters in the order allowed, banned, bias,
// repetition, frequency and presence penalty, suppressed; then temperature, top_k, min_p, top_p;
// among equal logits the lower id counts as more likely. Log-probabilities are those of the plain
// logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

namespace fmaserver::kernels {

struct Matrix;

/// A token and what belongs to it: a bias, a count or a log-probability.
struct TokenValue {
  int32_t token = 0;
  float value = 0;

  bool operator==(const TokenValue&) const = default;
};

/// How the token of one row is chosen. Ids are in [0, V), and at most once in each of `bias` and
/// `counts`. The spans must be valid until Sample() returns.
struct RowSampling {
  float temperature = 1;  ///< 0: the most likely token
  int32_t top_k = 0;      ///< 0: all
  float top_p = 1;
  float min_p = 0;
  double uniform = 0;  ///< this draw's random number, in [0, 1)
  float repetition_penalty = 1;
  float frequency_penalty = 0;
  float presence_penalty = 0;
  std::span<const int32_t> allowed;    ///< empty: all
  std::span<const int32_t> banned;     ///< and suppressed ones: no filter makes them likelier
  std::span<const TokenValue> bias;    ///< added
  std::span<const TokenValue> counts;  ///< for penalties: how often each seen token was generated
  bool logprob = false;                ///< report the chosen token's log-probability
  int32_t top_logprobs = 0;            ///< and those of this many most likely tokens
};

/// Stands for the token of a row whose logits are not finite.
inline constexpr int32_t kNoToken = -1;

struct SampledRow {
  int32_t token = kNoToken;
  float logprob = 0;
  std::vector<TokenValue> top;  ///< best first
};

class RowSampler {
 public:
  virtual ~RowSampler() = default;

  /// Chooses one token for each row of `logits` [n, V]. Within a step it becomes part of the step
  /// and waits for everything so far, so its error may be any error of the step.
  virtual absl::Status Sample(Matrix logits, std::span<const RowSampling> rows,
                              std::span<SampledRow> out) = 0;
};

}  // namespace fmaserver::kernels
