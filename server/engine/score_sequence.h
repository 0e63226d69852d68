// A sequence whose tokens are given: reports how likely the model finds each.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "server/engine/observer.h"
#include "server/engine/request.h"
#include "server/engine/sequence.h"

namespace fmaserver::engine {

/// Scores of the tokens that follow `rows` fed ones, tokens[position + 1, position + rows + 1) as
/// far as there are any; row i of `logits` [rows, vocab_size] came from tokens[position + i].
std::vector<TokenScore> ScoreFollowers(std::span<const int32_t> tokens, int64_t position,
                                       int32_t rows, std::span<const float> logits,
                                       int64_t vocab_size, int32_t top_logprobs);

class ScoreSequence : public Sequence {
 public:
  /// `observer` outlives the sequence.
  ScoreSequence(RequestId id, ScoreRequest request, std::shared_ptr<ScoreSink> sink,
                EngineObserver& observer);

  bool HasRoom() const override { return sink_->HasRoom(); }
  std::span<const int32_t> Pending() const override;
  bool Reading() const override { return true; }
  int32_t LogitsWanted(int32_t rows) const override { return rows; }
  bool Advance(int32_t rows, const StepOutcome& outcome) override;
  void Fail(const absl::Status& status) override;

 private:
  int64_t NumTokens() const { return static_cast<int64_t>(request_.tokens.size()); }
  void ReportEnd(absl::StatusCode code, const Usage& usage);

  const ScoreRequest request_;
  const std::shared_ptr<ScoreSink> sink_;
  EngineObserver& observer_;
};

}  // namespace fmaserver::engine
