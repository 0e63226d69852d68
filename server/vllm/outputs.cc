#include "server/vllm/outputs.h"

#include <utility>
#include <variant>

namespace fmaserver::vllm {
namespace {

namespace wire = ::vllm;

/// The most likely tokens but for the chosen one, which the message has anyway.
wire::CandidateTokenInfo Candidates(const std::vector<engine::TokenLogprob>& top, int32_t chosen) {
  wire::CandidateTokenInfo info;
  uint32_t rank = 0;
  for (const engine::TokenLogprob& candidate : top) {
    ++rank;
    if (candidate.token == chosen) continue;
    auto& token = *info.add_tokens();
    token.set_id(candidate.token);
    token.set_logprob(candidate.value);
    token.set_rank(rank);
  }
  return info;
}

void Fill(const engine::Delta& delta, const Wanted& wanted, wire::SequenceOutput& output) {
  output.set_index(delta.index);
  output.set_num_tokens(static_cast<uint32_t>(delta.tokens.size()));
  if (wanted.text) output.set_text(delta.text);
  if (wanted.token_ids) {
    output.mutable_token_ids()->Add(delta.tokens.begin(), delta.tokens.end());
  }
  output.mutable_logprobs()->Add(delta.logprobs.begin(), delta.logprobs.end());
  for (size_t i = 0; i < delta.top_logprobs.size(); ++i) {
    *output.add_candidate_tokens() = Candidates(delta.top_logprobs[i], delta.tokens[i]);
  }
}

void Fill(const engine::Finished& end, const Wanted& wanted, wire::SequenceOutput& output) {
  output.set_index(end.index);
  if (wanted.text) output.set_text(end.text);
  wire::FinishInfo& info = *output.mutable_finish_info();
  info.set_num_output_tokens(static_cast<uint32_t>(end.usage.generated_tokens));
  switch (end.reason) {
    case engine::FinishReason::kEos:
      info.set_finish_reason(wire::FinishInfo::STOP);
      if (end.stop_token.has_value()) info.set_eos_token_id(*end.stop_token);
      break;
    case engine::FinishReason::kStopSequence:
      info.set_finish_reason(wire::FinishInfo::STOP);
      if (end.stop_token.has_value()) {
        info.set_stop_token_id(*end.stop_token);
      } else {
        info.set_stop_string(end.stop);
      }
      break;
    case engine::FinishReason::kLength:
    case engine::FinishReason::kTimeLimit:
      info.set_finish_reason(wire::FinishInfo::LENGTH);
      break;
  }
}

}  // namespace

std::optional<wire::GenerateResponse> Outputs::After(const service::GenerateEvent& event) {
  wire::GenerateResponse response;
  if (const auto* prompt = std::get_if<service::PromptTokens>(&event)) {
    prompt_tokens_ += static_cast<int64_t>(prompt->tokens.size());
    if (!wanted.prompt_token_ids) return std::nullopt;
    for (const engine::TokenScore& score : prompt->tokens) prompt_.push_back(score.token);
    return std::nullopt;
  }
  if (const auto* delta = std::get_if<engine::Delta>(&event)) {
    Fill(*delta, wanted, *response.mutable_outputs());
  } else if (const auto* finished = std::get_if<service::GenerationFinished>(&event)) {
    Fill(finished->end, wanted, *response.mutable_outputs());
  } else {
    return std::nullopt;
  }
  if (!std::exchange(prompt_told_, true)) AddPromptInfo(response);
  return response;
}

void Outputs::AddPromptInfo(wire::GenerateResponse& response) {
  wire::PromptInfo& info = *response.mutable_prompt_info();
  info.set_num_prompt_tokens(static_cast<uint32_t>(wanted.prompt_tokens.value_or(prompt_tokens_)));
  info.mutable_token_ids()->Add(prompt_.begin(), prompt_.end());
  prompt_ = {};
}

}  // namespace fmaserver::vllm
