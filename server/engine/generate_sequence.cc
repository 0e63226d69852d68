#include "server/engine/generate_sequence.h"

#include <algorithm>
#include <utility>

namespace fmaserver {

GenerateSequence::GenerateSequence(RequestId id, GenerateRequest request, uint64_t seed,
                                   std::shared_ptr<GenerateSink> sink, const ModelConfig& config,
                                   const Tokenizer* tokenizer)
    : Sequence(id, Clock::now()),
      request_(std::move(request)),
      sink_(std::move(sink)),
      config_(config),
      tokenizer_(tokenizer),
      sampler_(request_.sampling, seed) {}

bool GenerateSequence::Reading() const { return position() < PromptTokens(); }

std::span<const int32_t> GenerateSequence::Pending() const {
  if (!Reading()) return {&last_token_, 1};
  return std::span(request_.prompt).subspan(static_cast<size_t>(position()));
}

int32_t GenerateSequence::LogitsWanted(int32_t rows) const {
  return position() + rows >= PromptTokens() ? 1 : 0;
}

bool GenerateSequence::Advance(int32_t rows, std::span<const float> logits, int64_t /*vocab*/) {
  const bool was_reading = Reading();
  AddFed(rows);
  if (was_reading) sink_->OnPromptProgress(position(), PromptTokens());
  return Reading() || Choose(logits);
}

bool GenerateSequence::Choose(std::span<const float> logits) {
  if (generated_ == 0) first_token_ = Clock::now();
  const absl::StatusOr<int32_t> token = sampler_.Sample(logits);
  if (!token.ok()) {
    Fail(token.status());
    return false;
  }
  if (IsEos(*token)) return Finish(FinishReason::kEos);
  Emit(*token, logits);
  // The new token would take position position(): past the end there is no place for it.
  const bool full = position() >= config_.MaxSequenceLength();
  if (generated_ >= request_.max_tokens || full) return Finish(FinishReason::kLength);
  last_token_ = *token;
  return true;
}

bool GenerateSequence::IsEos(int32_t token) const {
  return !request_.ignore_eos && std::ranges::count(config_.eos_token_ids, token) > 0;
}

void GenerateSequence::Emit(int32_t token, std::span<const float> logits) {
  ++generated_;
  Delta delta;
  delta.tokens.push_back(token);
  if (tokenizer_ != nullptr) delta.text = text_.Push(tokenizer_->TokenBytes(token));
  if (request_.logprobs) delta.logprobs.push_back(LogProbabilities(logits).Of(token));
  sink_->OnDelta(std::move(delta));
}

bool GenerateSequence::Finish(FinishReason reason) {
  Usage usage;
  usage.prompt_tokens = PromptTokens();
  usage.generated_tokens = generated_;
  usage.queue_seconds = SecondsBetween(arrival(), started());
  usage.prefill_seconds = SecondsBetween(started(), first_token_);
  usage.decode_seconds = SecondsBetween(first_token_, Clock::now());
  sink_->OnFinish(reason, usage, text_.Finish());
  return false;
}

}  // namespace fmaserver
