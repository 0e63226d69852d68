#include "server/engine/score_sequence.h"

#include <optional>
#include <utility>
#include <vector>

#include "server/engine/token_scores.h"

namespace fmaserver::engine {

ScoreSequence::ScoreSequence(RequestId id, ValidScoreRequest request,
                             std::shared_ptr<ScoreSink> sink, EngineObserver& observer,
                             SequenceArchive archive)
    : Sequence(id, /*priority=*/0, Clock::now(), /*position=*/0, std::move(archive)),
      request_(std::move(request)),
      sink_(std::move(sink)),
      observer_(observer) {}

std::span<const int32_t> ScoreSequence::Pending() const {
  return std::span(request_->tokens).subspan(static_cast<size_t>(position()));
}

bool ScoreSequence::Advance(int32_t accepted, const StepOutcome& outcome) {
  std::vector<TokenScore> scores = ScoreFollowers(request_->tokens, position(), accepted,
                                                  outcome.logits, request_->top_logprobs);
  if (position() == 0) scores.insert(scores.begin(), {request_->tokens.front(), std::nullopt, {}});
  AddFed(accepted);
  sink_->OnScores(std::move(scores));
  sink_->OnPromptProgress({.processed_tokens = position(), .total_tokens = NumTokens()});
  if (position() < NumTokens()) return true;
  const Usage usage = CurrentUsage();
  ReportEnd(absl::StatusCode::kOk, usage);
  sink_->OnFinish(usage);
  return false;
}

void ScoreSequence::Fail(const absl::Status& status) {
  const Usage usage = CurrentUsage();
  ReportEnd(status.code(), usage);
  sink_->OnError(status, usage);
}

Usage ScoreSequence::CurrentUsage() const {
  Usage usage;
  usage.prompt_tokens = NumTokens();
  times().FillIn(usage, Clock::now());
  return usage;
}

void ScoreSequence::ReportEnd(absl::StatusCode code, const Usage& usage) {
  observer_.OnEnd({.code = code,
                   .reason = std::nullopt,
                   .usage = usage,
                   .end_to_end_seconds = SecondsSince(times().arrival())});
}

}  // namespace fmaserver::engine
