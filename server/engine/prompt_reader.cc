#include "server/engine/prompt_reader.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "server/engine/token_scores.h"

namespace fmaserver::engine {

// When no answer is to be chosen, the last token stays pending: the next turn reads it first.
PromptReader::PromptReader(const GenerateRequest& request, int64_t start, bool reports)
    : request_(request),
      start_(start),
      to_read_(request.max_tokens > 0 ? Size() : Size() - 1),
      scores_(reports && request.prompt_logprobs.has_value()),
      echoes_(reports && request.echo && !scores_) {}

std::span<const int32_t> PromptReader::Next(int64_t position, int64_t end) const {
  const int64_t last = std::min(start_ + to_read_, end);
  return std::span(request_.prompt)
      .subspan(static_cast<size_t>(Read(position)), static_cast<size_t>(last - position));
}

int32_t PromptReader::LogitsWanted(int64_t position, int32_t rows) const {
  if (Scores(position)) return rows;
  return Done(position + rows) ? 1 : 0;
}

std::vector<TokenScore> PromptReader::Report(int64_t before, int64_t after,
                                             std::span<const float> logits) const {
  if (scores_) return Scored(Read(before), after - before, logits);
  std::vector<TokenScore> tokens;
  if (!echoes_) return tokens;
  // A last token that stays pending is reported all the same.
  const int64_t end = Left(after) > 0 ? Read(after) : Size();
  for (int64_t i = std::max(Read(before), request_.pending); i < end; ++i) {
    tokens.push_back({request_.prompt[i], std::nullopt, {}});
  }
  return tokens;
}

/// Scores of the tokens after the `rows` that were read with these logits; `before` tokens of the
/// prompt were read earlier.
std::vector<TokenScore> PromptReader::Scored(int64_t before, int64_t rows,
                                             std::span<const float> logits) const {
  std::vector<TokenScore> scores;
  if (rows == 0) return scores;
  const int64_t pending = request_.pending;
  if (before == 0 && pending == 0) scores.push_back({request_.prompt[0], std::nullopt, {}});
  std::vector<TokenScore> rest =
      ScoreFollowers(request_.prompt, before, rows, logits, *request_.prompt_logprobs);
  const auto skipped = std::clamp<int64_t>(pending - before - 1, 0, std::ssize(rest));
  scores.insert(scores.end(), rest.begin() + skipped, rest.end());
  return scores;
}

}  // namespace fmaserver::engine
