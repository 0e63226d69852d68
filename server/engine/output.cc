#include "server/engine/output.h"

#include <algorithm>
#include <utility>

namespace fmaserver::engine {
namespace {

bool Contains(const std::vector<int32_t>& tokens, int32_t token) {
  return std::ranges::find(tokens, token) != tokens.end();
}

}  // namespace

Output::Output(const ValidGenerateRequest& request, int32_t index,
               const model::Tokenizer* tokenizer, GenerateSink& sink)
    : request_(request),
      index_(index),
      tokenizer_(tokenizer),
      sink_(sink),
      stops_(request->stop, request->include_stop) {}

void Output::Skip(int32_t token) {
  chosen_.push_back(token);
  ++size_;
  Text(token);
}

std::span<const int32_t> Output::Suppressed() const {
  const bool may_stop = size_ >= request_->min_tokens;
  return may_stop ? std::span<const int32_t>() : request_.stop_tokens();
}

std::optional<Ending> Output::Accept(const kernels::SampledRow& choice, Attended attended) {
  const int32_t token = choice.token;
  chosen_.push_back(token);
  if (Contains(request_.eos_tokens(), token)) {
    if (request_->include_eos) Emit(choice, std::move(attended), /*has_text=*/false);
    return Ending{FinishReason::kEos, token};
  }
  const bool stops = Contains(request_.stop_tokens(), token);
  if (!stops || request_->include_stop) Emit(choice, std::move(attended), /*has_text=*/true);
  if (stops) return Ending{FinishReason::kStopSequence, token};
  if (stops_.matched() != nullptr) {
    return Ending{FinishReason::kStopSequence, std::nullopt, *stops_.matched()};
  }
  if (size_ >= request_->max_tokens) return Ending{FinishReason::kLength};
  return std::nullopt;
}

/// The text that is certain after `token`, which is already counted.
std::string Output::Text(int32_t token) {
  if (tokenizer_ == nullptr) return {};
  std::string text = characters_.Push(tokenizer_->TokenBytes(token));
  // Within min_tokens, no text counts as a stop string or as the start of one.
  return size_ > request_->min_tokens ? stops_.Push(text) : text;
}

void Output::Emit(const kernels::SampledRow& choice, Attended attended, bool has_text) {
  ++size_;
  Delta delta;
  delta.index = index_;
  delta.tokens.push_back(choice.token);
  if (has_text) delta.text = Text(choice.token);
  if (request_->logprobs) delta.logprobs.push_back(choice.logprob);
  if (request_->top_logprobs > 0) delta.top_logprobs.push_back(choice.top);
  if (request_->sources > 0) delta.sources.push_back(std::move(attended.sources));
  if (request_->attention_shares) delta.attention_shares.push_back(std::move(attended.shares));
  sink_.OnDelta(std::move(delta));
}

std::string Output::Finish() {
  std::string text = stops_.Finish();
  // After a stop string there is no more text.
  if (stops_.matched() == nullptr) text += characters_.Finish();
  return text;
}

}  // namespace fmaserver::engine
