#include "server/engine/score_sequence.h"

#include <utility>

#include "server/engine/sampler.h"

namespace fmaserver::engine {

std::vector<TokenScore> ScoreFollowers(std::span<const int32_t> tokens, int64_t position,
                                       int32_t rows, std::span<const float> logits,
                                       int64_t vocab_size, int32_t top_logprobs) {
  std::vector<TokenScore> scores;
  const auto size = static_cast<int64_t>(tokens.size());
  for (int64_t row = 0; row < rows && position + row + 1 < size; ++row) {
    const LogProbabilities probabilities(
        logits.subspan(static_cast<size_t>(row * vocab_size), static_cast<size_t>(vocab_size)));
    const int32_t token = tokens[position + row + 1];
    scores.push_back({token, probabilities.Of(token), probabilities.Top(top_logprobs)});
  }
  return scores;
}

ScoreSequence::ScoreSequence(RequestId id, ScoreRequest request, std::shared_ptr<ScoreSink> sink,
                             EngineObserver& observer)
    : Sequence(id, /*priority=*/0, Clock::now()),
      request_(std::move(request)),
      sink_(std::move(sink)),
      observer_(observer) {}

std::span<const int32_t> ScoreSequence::Pending() const {
  return std::span(request_.tokens).subspan(static_cast<size_t>(position()));
}

bool ScoreSequence::Advance(int32_t rows, const StepOutcome& outcome) {
  std::vector<TokenScore> scores = ScoreFollowers(request_.tokens, position(), rows, outcome.logits,
                                                  outcome.vocab_size, request_.top_logprobs);
  if (position() == 0) scores.insert(scores.begin(), {request_.tokens.front(), std::nullopt, {}});
  AddFed(rows);
  sink_->OnScores(std::move(scores));
  sink_->OnPromptProgress(position(), NumTokens());
  if (position() < NumTokens()) return true;
  Usage usage;
  usage.prompt_tokens = NumTokens();
  usage.queue_seconds = SecondsBetween(arrival(), started());
  usage.prefill_seconds = SecondsBetween(started(), Clock::now());
  ReportEnd(absl::StatusCode::kOk, usage);
  sink_->OnFinish(usage);
  return false;
}

void ScoreSequence::Fail(const absl::Status& status) {
  ReportEnd(status.code(), {});
  sink_->OnError(status);
}

void ScoreSequence::ReportEnd(absl::StatusCode code, const Usage& usage) {
  observer_.OnEnd({.code = code,
                   .reason = std::nullopt,
                   .usage = usage,
                   .end_to_end_seconds = SecondsBetween(arrival(), Clock::now())});
}

}  // namespace fmaserver::engine
