// A sequence whose tokens are given: it reports how likely the model finds each of them.
#pragma once

#include <cstdint>
#include <iterator>
#include <memory>
#include <span>

#include "server/engine/observer.h"
#include "server/engine/request.h"
#include "server/engine/sequence.h"
#include "server/engine/valid_request.h"

namespace fmaserver::engine {

class ScoreSequence : public Sequence {
 public:
  /// `observer` outlives the sequence.
  ScoreSequence(RequestId id, ValidScoreRequest request, std::shared_ptr<ScoreSink> sink,
                EngineObserver& observer, SequenceArchive archive);

  bool KeepsUp() const override { return sink_->KeepsUp(); }
  int64_t PromptLeft() const override { return NumTokens() - position(); }
  std::span<const int32_t> Pending() const override;
  int32_t LogitsWanted(int32_t rows) const override { return rows; }
  bool Advance(int32_t accepted, const StepOutcome& outcome) override;
  void Fail(const absl::Status& status) override;

 private:
  int64_t NumTokens() const { return std::ssize(request_->tokens); }
  Usage CurrentUsage() const;
  void ReportEnd(absl::StatusCode code, const Usage& usage);

  const ValidScoreRequest request_;
  const std::shared_ptr<ScoreSink> sink_;
  EngineObserver& observer_;
};

}  // namespace fmaserver::engine
