#include "server/engine/token_scores.h"

#include <cstddef>
#include <iterator>

#include "server/engine/sampler.h"

namespace fmaserver::engine {

std::vector<TokenScore> ScoreFollowers(std::span<const int32_t> tokens, int64_t position,
                                       int64_t rows, std::span<const float> logits,
                                       int32_t top_logprobs) {
  std::vector<TokenScore> scores;
  const size_t vocab_size = logits.size() / static_cast<size_t>(rows);
  for (int64_t row = 0; row < rows && position + row + 1 < std::ssize(tokens); ++row) {
    const LogProbabilities probabilities(
        logits.subspan(static_cast<size_t>(row) * vocab_size, vocab_size));
    const int32_t token = tokens[position + row + 1];
    scores.push_back({token, probabilities.Of(token), probabilities.Top(top_logprobs)});
  }
  return scores;
}

}  // namespace fmaserver::engine
