#include "server/rpc/from_wire.h"

#include <google/protobuf/repeated_field.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/refusal.h"

namespace fmaserver::rpc {
namespace {

using service::Vocabulary;
using Ids = google::protobuf::RepeatedField<uint32_t>;

// Moves the tokens named by `field` to `tokens`, or says what is wrong with them.
template <class Tokens>
absl::Status AssignTokens(absl::string_view field, const Ids& ids, const Vocabulary& vocabulary,
                          Tokens& tokens) {
  auto found = service::CheckIds(field, std::span(ids.data(), ids.size()), vocabulary);
  if (!found.ok()) return found.status();
  tokens = *std::move(found);
  return absl::OkStatus();
}

// GenerateRequest, ScoreRequest and EncoderInput carry the same choice of text or ids under
// different names.
template <class Message>
absl::StatusOr<service::Input> InputOf(Message& message, const Vocabulary& vocabulary) {
  service::Input input;
  if (message.has_text()) input.text = std::move(*message.mutable_text());
  if (!message.has_token_ids()) return input;
  absl::Status status = AssignTokens("token_ids", message.token_ids().ids(), vocabulary, input.ids);
  if (!status.ok()) return status;
  return input;
}

absl::Status SetSampling(const v1::SamplingParams& params, const Vocabulary& vocabulary,
                         engine::SamplingParams& sampling) {
  sampling = service::DefaultSampling(vocabulary);
  if (params.has_temperature()) sampling.temperature = params.temperature();
  if (params.has_top_k()) sampling.top_k = service::TopK(params.top_k(), vocabulary);
  if (params.has_top_p()) sampling.top_p = params.top_p();
  if (params.has_min_p()) sampling.min_p = params.min_p();
  if (params.has_repetition_penalty()) sampling.repetition_penalty = params.repetition_penalty();
  if (params.has_seed()) sampling.seed = params.seed();
  sampling.frequency_penalty = params.frequency_penalty();
  sampling.presence_penalty = params.presence_penalty();
  for (const auto& [id, bias] : params.logit_bias()) {
    if (id >= vocabulary.size) return service::IdNotAllowed("logit_bias", id, vocabulary);
    sampling.logit_bias.emplace(static_cast<int32_t>(id), bias);
  }
  absl::Status status = AssignTokens("allowed_token_ids", params.allowed_token_ids(), vocabulary,
                                     sampling.allowed_token_ids);
  status.Update(AssignTokens("banned_token_ids", params.banned_token_ids(), vocabulary,
                             sampling.banned_token_ids));
  return status;
}

absl::Status SetStopping(const v1::GenerateRequest& message, const Vocabulary& vocabulary,
                         engine::GenerateRequest& options) {
  if (message.has_max_tokens()) options.max_tokens = message.max_tokens();
  options.min_tokens = message.min_tokens();
  options.ignore_eos = message.ignore_eos();
  options.stop.assign(message.stop().begin(), message.stop().end());
  options.include_stop = message.include_stop();
  if (message.has_time_limit_seconds()) options.time_limit_seconds = message.time_limit_seconds();
  return AssignTokens("stop_token_ids", message.stop_token_ids(), vocabulary,
                      options.stop_token_ids);
}

absl::Status AssignAtMost(std::string_view field, uint64_t value, int32_t most, int32_t& place) {
  if (value > static_cast<uint64_t>(most)) {
    return Refusal(field, value, FromTo(0, most));
  }
  place = static_cast<int32_t>(value);
  return absl::OkStatus();
}

// What a request asks about tokens besides choosing them: samples, log-probabilities, states.
absl::Status SetExtras(const v1::GenerateRequest& message, engine::GenerateRequest& options) {
  options.logprobs = message.logprobs();
  options.echo = message.echo();
  options.priority = message.priority();
  options.no_archive = message.no_archive();
  options.attention_shares = message.attention_shares();
  for (const uint64_t mark : message.marks()) {
    // Whatever is too large for the engine's type is past every prompt.
    options.marks.push_back(static_cast<int64_t>(std::min<uint64_t>(mark, INT64_MAX)));
  }
  absl::Status status = AssignAtMost("top_logprobs", message.top_logprobs(),
                                     engine::kMaxTopLogprobs, options.top_logprobs);
  status.Update(AssignAtMost("sources", message.sources(), engine::kMaxSources, options.sources));
  if (message.has_n()) {
    status.Update(AssignAtMost("n", message.n(), engine::kMaxSamples, options.n));
  }
  if (message.has_prompt_logprobs()) {
    status.Update(AssignAtMost("prompt_logprobs", message.prompt_logprobs(),
                               engine::kMaxTopLogprobs, options.prompt_logprobs.emplace()));
  }
  return status;
}

template <class Message>
absl::Status SetTexts(Message& message, const Vocabulary& vocabulary,
                      service::EncodeRequest& request) {
  for (v1::EncoderInput& input : *message.mutable_inputs()) {
    auto text = InputOf(input, vocabulary);
    if (!text.ok()) return At(Concat("inputs[", request.texts.size(), "]"), text.status());
    request.texts.push_back(*std::move(text));
  }
  return absl::OkStatus();
}

absl::StatusOr<service::GenerateRequest> ResumeOf(v1::GenerateRequest message) {
  service::GenerateRequest request;
  request.resume_token = std::move(*message.mutable_resume_token());
  message.clear_resume_token();
  message.clear_model();
  if (message.ByteSizeLong() == 0) return request;
  return Refusal("resume_token", Words{"set together with other fields"},
                 "only model beside it, because it stands for the whole request");
}

}  // namespace

absl::StatusOr<service::GenerateRequest> FromWire(v1::GenerateRequest message,
                                                  const Vocabulary& vocabulary) {
  if (!message.resume_token().empty()) return ResumeOf(std::move(message));
  service::GenerateRequest request;
  absl::Status status = SetSampling(message.sampling(), vocabulary, request.options.sampling);
  status.Update(SetStopping(message, vocabulary, request.options));
  status.Update(SetExtras(message, request.options));
  if (!status.ok()) return status;
  auto prompt = InputOf(message, vocabulary);
  if (!prompt.ok()) return prompt.status();
  request.prompt = *std::move(prompt);
  request.session_id = message.session_id();
  request.cache_salt = message.cache_salt();
  request.skip_prefix_cache = message.skip_prefix_cache();
  return request;
}

absl::StatusOr<service::GenerateRequest> FromWire(v1::ChatRequest message,
                                                  const Vocabulary& vocabulary) {
  v1::GenerateRequest& options = *message.mutable_options();
  const bool has_prompt = options.prompt_case() != v1::GenerateRequest::PROMPT_NOT_SET;
  if (has_prompt || !options.resume_token().empty()) {
    return Refusal("options", Words{has_prompt ? "set with a prompt" : "set with a resume_token"},
                   "all else; messages are the prompt, and Generate resumes");
  }
  auto request = FromWire(std::move(options), vocabulary);
  if (!request.ok()) return request;
  service::Conversation& messages = request->prompt.messages.emplace();
  for (v1::ChatMessage& said : *message.mutable_messages()) {
    messages.push_back({std::move(*said.mutable_role()), std::move(*said.mutable_content())});
  }
  return request;
}

absl::StatusOr<service::ScoreRequest> FromWire(v1::ScoreRequest message,
                                               const Vocabulary& vocabulary) {
  service::ScoreRequest request;
  absl::Status status = AssignAtMost("top_logprobs", message.top_logprobs(),
                                     engine::kMaxTopLogprobs, request.top_logprobs);
  if (!status.ok()) return status;
  auto text = InputOf(message, vocabulary);
  if (!text.ok()) return text.status();
  request.text = *std::move(text);
  request.no_archive = message.no_archive();
  return request;
}

absl::StatusOr<service::EncodeRequest> FromWire(v1::EmbedRequest message,
                                                const Vocabulary& vocabulary) {
  service::EncodeRequest request{.truncate = message.truncate()};
  if (absl::Status status = SetTexts(message, vocabulary, request); !status.ok()) return status;
  return request;
}

absl::StatusOr<service::EncodeRequest> FromWire(v1::FillMaskRequest message,
                                                const Vocabulary& vocabulary) {
  const uint32_t top = message.has_top() ? message.top() : service::kDefaultCandidates;
  if (top < 1 || top > engine::kMaxTopLogprobs) {
    return Refusal("top", top, FromTo(1, engine::kMaxTopLogprobs));
  }
  service::EncodeRequest request{.candidates = static_cast<int32_t>(top), .mask = message.mask()};
  if (absl::Status status = SetTexts(message, vocabulary, request); !status.ok()) return status;
  return request;
}

}  // namespace fmaserver::rpc
