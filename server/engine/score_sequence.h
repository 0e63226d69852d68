// A sequence whose tokens are given: reports how likely the model finds each.
#pragma once

#include <memory>
#include <vector>

#include "server/engine/request.h"
#include "server/engine/sequence.h"

namespace fmaserver {

class ScoreSequence : public Sequence {
 public:
  ScoreSequence(RequestId id, ScoreRequest request, std::shared_ptr<ScoreSink> sink);

  std::span<const int32_t> Pending() const override;
  bool Reading() const override { return true; }
  int32_t LogitsWanted(int32_t rows) const override { return rows; }
  bool Advance(int32_t rows, std::span<const float> logits, int64_t vocab_size) override;
  void Fail(const absl::Status& status) override { sink_->OnError(status); }

 private:
  int64_t NumTokens() const { return static_cast<int64_t>(request_.tokens.size()); }

  const ScoreRequest request_;
  const std::shared_ptr<ScoreSink> sink_;
};

}  // namespace fmaserver
