#include "server/engine/generate_sequence.h"

#include <algorithm>
#include <utility>

namespace fmaserver {
namespace {

std::vector<int32_t> EosTokens(const GenerateRequest& request, const ModelConfig& config) {
  return request.ignore_eos ? std::vector<int32_t>() : config.eos_token_ids;
}

std::vector<int32_t> Joined(std::vector<int32_t> first, const std::vector<int32_t>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

bool Contains(const std::vector<int32_t>& tokens, int32_t token) {
  return std::ranges::find(tokens, token) != tokens.end();
}

}  // namespace

GenerateSequence::GenerateSequence(RequestId id, GenerateRequest request, uint64_t seed,
                                   std::shared_ptr<GenerateSink> sink, const ModelConfig& config,
                                   const Tokenizer* tokenizer)
    : Sequence(id, Clock::now()),
      request_(std::move(request)),
      sink_(std::move(sink)),
      config_(config),
      tokenizer_(tokenizer),
      eos_tokens_(EosTokens(request_, config)),
      stop_tokens_(Joined(eos_tokens_, request_.stop_token_ids)),
      sampler_(request_.sampling, seed, request_.prompt),
      stops_(request_.stop, request_.include_stop) {}

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
  if (!Reading()) return Choose(logits);
  return !TimeIsUp() || End(FinishReason::kTimeLimit);
}

bool GenerateSequence::Choose(std::span<const float> logits) {
  if (!first_token_) first_token_ = Clock::now();
  const bool may_stop = generated_ >= request_.min_tokens;
  const absl::StatusOr<int32_t> token =
      sampler_.Sample(logits, may_stop ? std::span<const int32_t>() : stop_tokens_);
  if (token.ok()) return Accept(*token, logits);
  Fail(token.status());
  return false;
}

bool GenerateSequence::Accept(int32_t token, std::span<const float> logits) {
  if (Contains(eos_tokens_, token)) return End(FinishReason::kEos, token);
  const bool stops = Contains(stop_tokens_, token);
  if (!stops || request_.include_stop) Emit(token, logits);
  if (stops) return End(FinishReason::kStopSequence, token);
  if (stops_.matched() != nullptr) {
    return End(FinishReason::kStopSequence, {}, *stops_.matched());
  }
  // The new token would take position position(): past the end there is no place for it.
  const bool full = position() >= config_.MaxSequenceLength();
  if (generated_ >= request_.max_tokens || full) return End(FinishReason::kLength);
  if (TimeIsUp()) return End(FinishReason::kTimeLimit);
  last_token_ = token;
  return true;
}

bool GenerateSequence::TimeIsUp() const {
  return SecondsBetween(started(), Clock::now()) >= request_.time_limit_seconds;
}

void GenerateSequence::Emit(int32_t token, std::span<const float> logits) {
  ++generated_;
  Delta delta;
  delta.tokens.push_back(token);
  if (tokenizer_ != nullptr) delta.text = characters_.Push(tokenizer_->TokenBytes(token));
  // Nothing within min_tokens counts as a stop string, nor as the start of one.
  if (generated_ > request_.min_tokens) delta.text = stops_.Push(delta.text);
  if (request_.logprobs || request_.top_logprobs > 0) {
    const LogProbabilities probabilities(logits);
    if (request_.logprobs) delta.logprobs.push_back(probabilities.Of(token));
    if (request_.top_logprobs > 0) {
      delta.top_logprobs.push_back(probabilities.Top(request_.top_logprobs));
    }
  }
  sink_->OnDelta(std::move(delta));
}

bool GenerateSequence::End(FinishReason reason, std::optional<int32_t> stop_token,
                           std::string stop) {
  Finished finish;
  finish.reason = reason;
  finish.stop_token = stop_token;
  finish.stop = std::move(stop);
  const Clock::time_point now = Clock::now();
  finish.usage.prompt_tokens = PromptTokens();
  finish.usage.generated_tokens = generated_;
  finish.usage.queue_seconds = SecondsBetween(arrival(), started());
  finish.usage.prefill_seconds = SecondsBetween(started(), first_token_.value_or(now));
  finish.usage.decode_seconds = SecondsBetween(first_token_.value_or(now), now);
  finish.text = stops_.Finish();
  // Past a stop string there is no text.
  if (stops_.matched() == nullptr) finish.text += characters_.Finish();
  sink_->OnFinish(std::move(finish));
  return false;
}

}  // namespace fmaserver
