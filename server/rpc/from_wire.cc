#include "server/rpc/from_wire.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace fmaserver::rpc {
namespace {

// GenerateRequest and ScoreRequest carry the same choice of text or ids under different names.
template <class Request>
absl::StatusOr<std::vector<int32_t>> InputTokens(const Request& request,
                                                 const Vocabulary& vocabulary) {
  if (!request.has_text() && !request.has_token_ids()) {
    return absl::InvalidArgumentError(
        "text, token_ids: neither is set; exactly one of them must be");
  }
  const bool is_text = request.has_text();
  auto tokens = is_text ? TokensFromText(request.text(), vocabulary)
                        : TokensFromIds("token_ids", request.token_ids().ids(), vocabulary);
  if (tokens.ok() && tokens->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(is_text ? "text" : "token_ids", ": 0 tokens found; at least 1 is needed"));
  }
  return tokens;
}

absl::Status IdNotAllowed(absl::string_view field, uint32_t id, const Vocabulary& vocabulary) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": ", id, " found; allowed are 0 to ", vocabulary.size - 1));
}

// Moves the tokens named by `field` to `tokens`, or says what is wrong with them.
absl::Status AssignTokens(absl::string_view field,
                          const google::protobuf::RepeatedField<uint32_t>& ids,
                          const Vocabulary& vocabulary, std::vector<int32_t>& tokens) {
  auto found = TokensFromIds(field, ids, vocabulary);
  if (!found.ok()) return found.status();
  tokens = *std::move(found);
  return absl::OkStatus();
}

absl::StatusOr<engine::SamplingParams> FromWire(const v1::SamplingParams& params,
                                                const Vocabulary& vocabulary) {
  engine::SamplingParams sampling;
  if (params.has_temperature()) sampling.temperature = params.temperature();
  if (params.has_top_p()) sampling.top_p = params.top_p();
  if (params.has_seed()) sampling.seed = params.seed();
  // A k of the whole vocabulary or more filters nothing, which the engine calls 0.
  sampling.top_k = params.top_k() < vocabulary.size ? static_cast<int32_t>(params.top_k()) : 0;
  sampling.min_p = params.min_p();
  if (params.has_repetition_penalty()) sampling.repetition_penalty = params.repetition_penalty();
  sampling.frequency_penalty = params.frequency_penalty();
  sampling.presence_penalty = params.presence_penalty();
  for (const auto& [id, bias] : params.logit_bias()) {
    if (id >= vocabulary.size) return IdNotAllowed("logit_bias", id, vocabulary);
    sampling.logit_bias.emplace(static_cast<int32_t>(id), bias);
  }
  absl::Status status = AssignTokens("allowed_token_ids", params.allowed_token_ids(), vocabulary,
                                     sampling.allowed_token_ids);
  status.Update(AssignTokens("banned_token_ids", params.banned_token_ids(), vocabulary,
                             sampling.banned_token_ids));
  if (!status.ok()) return status;
  return sampling;
}

absl::Status SetStopping(const v1::GenerateRequest& request, const Vocabulary& vocabulary,
                         engine::GenerateRequest& result) {
  if (request.stop_size() > 0 && vocabulary.tokenizer == nullptr) {
    return absl::FailedPreconditionError(
        "stop: this model has no tokenizer; send stop_token_ids instead");
  }
  if (request.has_max_tokens()) result.max_tokens = request.max_tokens();
  result.min_tokens = request.min_tokens();
  result.ignore_eos = request.ignore_eos();
  result.stop.assign(request.stop().begin(), request.stop().end());
  result.include_stop = request.include_stop();
  if (request.has_time_limit_seconds()) result.time_limit_seconds = request.time_limit_seconds();
  return AssignTokens("stop_token_ids", request.stop_token_ids(), vocabulary,
                      result.stop_token_ids);
}

absl::StatusOr<int32_t> AtMost(absl::string_view field, uint64_t value, int32_t most) {
  if (value <= static_cast<uint64_t>(most)) return static_cast<int32_t>(value);
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": ", value, " found; allowed are 0 to ", most));
}

absl::Status AssignAtMost(absl::string_view field, uint64_t value, int32_t most, int32_t& place) {
  const auto found = AtMost(field, value, most);
  if (found.ok()) place = *found;
  return found.status();
}

// What a request asks about tokens besides choosing them: samples, log-probabilities, states.
absl::Status SetExtras(const v1::GenerateRequest& request, absl::string_view tenant,
                       engine::GenerateRequest& result) {
  if (request.cache_salt().size() > kMaxCacheSaltBytes) {
    return absl::InvalidArgumentError(absl::StrCat("cache_salt: ", request.cache_salt().size(),
                                                   " bytes found; allowed are 0 to ",
                                                   kMaxCacheSaltBytes));
  }
  if (!request.skip_prefix_cache()) {
    // No tenant's name holds a 0, so no salt can imitate another tenant.
    result.cache_scope = absl::StrCat(tenant, absl::string_view("\0", 1), request.cache_salt());
  }
  result.logprobs = request.logprobs();
  result.echo = request.echo();
  result.priority = request.priority();
  for (const uint64_t mark : request.marks()) {
    // Whatever is too large for the engine's type is past every prompt.
    result.marks.push_back(static_cast<int64_t>(std::min<uint64_t>(mark, INT64_MAX)));
  }
  absl::Status status = AssignAtMost("top_logprobs", request.top_logprobs(),
                                     engine::kMaxTopLogprobs, result.top_logprobs);
  if (request.has_n()) status.Update(AssignAtMost("n", request.n(), engine::kMaxSamples, result.n));
  if (request.has_prompt_logprobs()) {
    status.Update(AssignAtMost("prompt_logprobs", request.prompt_logprobs(),
                               engine::kMaxTopLogprobs, result.prompt_logprobs.emplace()));
  }
  return status;
}

}  // namespace

Vocabulary VocabularyOf(const engine::Engine& engine) {
  return {.tokenizer = engine.tokenizer(), .size = engine.model().config().vocab_size};
}

absl::StatusOr<std::vector<int32_t>> TokensFromText(std::string_view text,
                                                    const Vocabulary& vocabulary) {
  if (vocabulary.tokenizer == nullptr) {
    return absl::FailedPreconditionError(
        "text: this model has no tokenizer; send token_ids instead");
  }
  auto tokens = vocabulary.tokenizer->Encode(text);
  if (!tokens.ok()) {
    return absl::Status(tokens.status().code(), absl::StrCat("text: ", tokens.status().message()));
  }
  return tokens;
}

absl::StatusOr<std::vector<int32_t>> TokensFromIds(
    absl::string_view field, const google::protobuf::RepeatedField<uint32_t>& ids,
    const Vocabulary& vocabulary) {
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] < vocabulary.size) continue;
    return IdNotAllowed(absl::StrCat(field, "[", i, "]"), ids[i], vocabulary);
  }
  return std::vector<int32_t>(ids.begin(), ids.end());
}

absl::StatusOr<engine::GenerateRequest> FromWire(const v1::GenerateRequest& request,
                                                 absl::string_view tenant,
                                                 const Vocabulary& vocabulary) {
  auto sampling = FromWire(request.sampling(), vocabulary);
  if (!sampling.ok()) return sampling.status();
  engine::GenerateRequest result;
  result.sampling = *std::move(sampling);
  // What a session holds already may be all there is to go on from.
  if (request.session_id().empty() || request.has_text() || request.has_token_ids()) {
    auto prompt = InputTokens(request, vocabulary);
    if (!prompt.ok()) return prompt.status();
    result.prompt = *std::move(prompt);
  }
  absl::Status status = SetStopping(request, vocabulary, result);
  status.Update(SetExtras(request, tenant, result));
  if (!status.ok()) return status;
  return result;
}

absl::StatusOr<engine::ScoreRequest> FromWire(const v1::ScoreRequest& request,
                                              const Vocabulary& vocabulary) {
  const auto top_logprobs = AtMost("top_logprobs", request.top_logprobs(), engine::kMaxTopLogprobs);
  if (!top_logprobs.ok()) return top_logprobs.status();
  auto tokens = InputTokens(request, vocabulary);
  if (!tokens.ok()) return tokens.status();
  return engine::ScoreRequest{.tokens = *std::move(tokens), .top_logprobs = *top_logprobs};
}

}  // namespace fmaserver::rpc
