#include "server/service/scoring.h"

#include <iterator>

#include "server/service/generate_event.h"

namespace fmaserver::service {

size_t BytesOf(const ScoreEvent& event) {
  const auto* scores = std::get_if<Scores>(&event);
  return scores == nullptr ? sizeof(ScoreSummary) : BytesOf(scores->tokens);
}

bool Merge(ScoreEvent& last, ScoreEvent& next) {
  auto* before = std::get_if<Scores>(&last);
  auto* after = std::get_if<Scores>(&next);
  if (before == nullptr || after == nullptr) return false;
  before->tokens.insert(before->tokens.end(), std::make_move_iterator(after->tokens.begin()),
                        std::make_move_iterator(after->tokens.end()));
  return true;
}

std::shared_ptr<Scoring> Scoring::Start(Service& service,
                                        const absl::StatusOr<models::ModelPtr>& model,
                                        std::shared_ptr<Call> call, std::shared_ptr<Wire> wire,
                                        size_t bytes, Parse parse) {
  std::shared_ptr<Scoring> scoring(new Scoring(service, std::move(call), std::move(wire)));
  scoring->Read(model, bytes, [scoring, parse = std::move(parse)](const auto& served) {
    if (!scoring->closed()) scoring->Run(served, parse());
  });
  return scoring;
}

void Scoring::Run(const models::ModelPtr& model, absl::StatusOr<ScoreRequest> request) {
  if (!request.ok()) return Refuse(model, request.status(), engine::Rejection::kInvalid);
  auto tokens = TokensOf(std::move(request->text), VocabularyOf(*model), call().limits());
  absl::Status share = tokens.status();
  if (tokens.ok()) share = CheckShare(call().limits().share, {.read = std::ssize(*tokens)});
  if (!share.ok()) return Refuse(model, share, engine::Rejection::kInvalid);
  engine::ScoreRequest score{.tokens = *std::move(tokens),
                             .top_logprobs = request->top_logprobs,
                             .no_archive = request->no_archive,
                             .tenant = call().tenant()};
  const size_t size = score.tokens.size();
  const absl::Status status =
      service().Submit(model->engine(), size,
                       [self = shared_from_this(), model, score = std::move(score)]() mutable {
                         if (!self->closed()) self->Submit(model, std::move(score));
                       });
  if (!status.ok()) Refuse(model, status, engine::Rejection::kQueueFull);
}

void Scoring::Submit(const models::ModelPtr& model, engine::ScoreRequest request) {
  call().ChargePrompt(std::ssize(request.tokens));
  const auto id = model->engine().Submit(std::move(request), shared_from_this());
  if (!id.ok()) return Close(id.status());
  Started(*id);
}

void Scoring::OnScores(std::vector<engine::TokenScore> scores) {
  for (const engine::TokenScore& score : scores) {
    if (!score.logprob.has_value()) continue;
    ++scored_tokens_;
    total_logprob_ += *score.logprob;
  }
  for (auto& piece : InPieces(std::move(scores))) Send(Scores{std::move(piece)});
}

void Scoring::OnFinish(const engine::Usage& usage) {
  call().SetUsage(usage);
  Send(ScoreSummary{.scored_tokens = scored_tokens_,
                    .total_logprob = total_logprob_,
                    .seconds = usage.queue_seconds + usage.prefill_seconds + usage.decode_seconds});
  Close(absl::OkStatus());
}

}  // namespace fmaserver::service
