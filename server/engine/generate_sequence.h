// A sequence that continues its prompt.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "model_loader/model_config.h"
#include "model_loader/tokenizer.h"
#include "model_loader/utf8.h"
#include "server/engine/request.h"
#include "server/engine/sampler.h"
#include "server/engine/sequence.h"
#include "server/engine/stop_matcher.h"

namespace fmaserver {

class GenerateSequence : public Sequence {
 public:
  /// `tokenizer` may be null; it and `config` outlive the sequence.
  GenerateSequence(RequestId id, GenerateRequest request, uint64_t seed,
                   std::shared_ptr<GenerateSink> sink, const ModelConfig& config,
                   const Tokenizer* tokenizer);

  std::span<const int32_t> Pending() const override;
  bool Reading() const override;
  int32_t LogitsWanted(int32_t rows) const override;
  bool Advance(int32_t rows, std::span<const float> logits, int64_t vocab_size) override;
  void Fail(const absl::Status& status) override { sink_->OnError(status); }

 private:
  int64_t PromptTokens() const { return static_cast<int64_t>(request_.prompt.size()); }
  bool Choose(std::span<const float> logits);
  bool Accept(int32_t token, std::span<const float> logits);
  bool TimeIsUp() const;
  void Emit(int32_t token, std::span<const float> logits);
  bool End(FinishReason reason, std::optional<int32_t> stop_token = {}, std::string stop = {});

  const GenerateRequest request_;
  const std::shared_ptr<GenerateSink> sink_;
  const ModelConfig& config_;
  const Tokenizer* const tokenizer_;
  const std::vector<int32_t> eos_tokens_;   // that end this sequence
  const std::vector<int32_t> stop_tokens_;  // eos_tokens_ and the request's
  Sampler sampler_;
  Utf8Stream characters_;
  StopMatcher stops_;
  int32_t last_token_ = 0;
  int64_t generated_ = 0;
  std::optional<Clock::time_point> first_token_;
};

}  // namespace fmaserver
