#include "server/rpc/from_wire.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace fmaserver {
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
                        : TokensFromIds(request.token_ids().ids(), vocabulary);
  if (tokens.ok() && tokens->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(is_text ? "text" : "token_ids", ": 0 tokens found; at least 1 is needed"));
  }
  return tokens;
}

SamplingParams FromWire(const v1::SamplingParams& params, const Vocabulary& vocabulary) {
  SamplingParams sampling;
  if (params.has_temperature()) sampling.temperature = params.temperature();
  if (params.has_top_p()) sampling.top_p = params.top_p();
  if (params.has_seed()) sampling.seed = params.seed();
  // A k of the whole vocabulary or more filters nothing, which the engine calls 0.
  sampling.top_k = params.top_k() < vocabulary.size ? static_cast<int32_t>(params.top_k()) : 0;
  return sampling;
}

}  // namespace

Vocabulary VocabularyOf(const Engine& engine) {
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
    const google::protobuf::RepeatedField<uint32_t>& ids, const Vocabulary& vocabulary) {
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] < vocabulary.size) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "token_ids[", i, "]: ", ids[i], " found; allowed are 0 to ", vocabulary.size - 1));
  }
  return std::vector<int32_t>(ids.begin(), ids.end());
}

absl::StatusOr<GenerateRequest> FromWire(const v1::GenerateRequest& request,
                                         const Vocabulary& vocabulary) {
  auto prompt = InputTokens(request, vocabulary);
  if (!prompt.ok()) return prompt.status();
  GenerateRequest result;
  result.prompt = *std::move(prompt);
  result.sampling = FromWire(request.sampling(), vocabulary);
  if (request.has_max_tokens()) result.max_tokens = request.max_tokens();
  result.ignore_eos = request.ignore_eos();
  result.logprobs = request.logprobs();
  return result;
}

absl::StatusOr<ScoreRequest> FromWire(const v1::ScoreRequest& request,
                                      const Vocabulary& vocabulary) {
  if (request.top_logprobs() > kMaxTopLogprobs) {
    return absl::InvalidArgumentError(absl::StrCat("top_logprobs: ", request.top_logprobs(),
                                                   " found; allowed are 0 to ", kMaxTopLogprobs));
  }
  auto tokens = InputTokens(request, vocabulary);
  if (!tokens.ok()) return tokens.status();
  return ScoreRequest{.tokens = *std::move(tokens),
                      .top_logprobs = static_cast<int32_t>(request.top_logprobs())};
}

}  // namespace fmaserver
