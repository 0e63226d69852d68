#include "server/service/generate_request.h"

#include <iterator>
#include <utility>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::service {
namespace {

absl::Status CheckStops(const engine::GenerateRequest& options, const Vocabulary& vocabulary) {
  if (options.stop.empty() || vocabulary.tokenizer != nullptr) return absl::OkStatus();
  return Refusal("stop", Words{"set"}, "stop_token_ids instead: this model has no tokenizer",
                 absl::StatusCode::kFailedPrecondition);
}

absl::Status CheckSalt(const std::string& salt) {
  if (salt.size() <= kMaxCacheSaltBytes) return absl::OkStatus();
  return Refusal("cache_salt", Words{Concat(salt.size(), " bytes")},
                 Concat("up to ", kMaxCacheSaltBytes));
}

}  // namespace

int32_t TopK(int64_t k, const Vocabulary& vocabulary) {
  return k < vocabulary.size ? static_cast<int32_t>(k) : 0;
}

engine::SamplingParams DefaultSampling(const Vocabulary& vocabulary) {
  const model::SamplingDefaults& defaults = vocabulary.sampling;
  return {.temperature = defaults.temperature,
          .top_k = TopK(defaults.top_k, vocabulary),
          .top_p = defaults.top_p,
          .min_p = defaults.min_p,
          .repetition_penalty = defaults.repetition_penalty};
}

absl::StatusOr<std::vector<int32_t>> TokensOf(Input input, const Vocabulary& vocabulary,
                                              const RequestLimits& limits) {
  if (input.messages.has_value()) return ChatTokens(*input.messages, vocabulary, limits);
  if (input.empty()) {
    return Refusal("prompt", Words{"missing"}, "exactly one of text and token_ids");
  }
  const bool is_text = input.text.has_value();
  auto tokens = is_text ? Encode(*input.text, vocabulary, limits) : *std::move(input.ids);
  if (!tokens.ok()) return tokens.status();
  if (is_text && input.framed) Frame(*vocabulary.tokenizer, *tokens);
  if (tokens->empty()) {
    return Refusal(is_text ? "text" : "token_ids", Words{"0 tokens"}, "1 or more");
  }
  if (absl::Status status = CheckPrompt(std::ssize(*tokens), limits); !status.ok()) return status;
  return tokens;
}

absl::StatusOr<engine::GenerateRequest> ForEngine(GenerateRequest request,
                                                  const std::string& tenant,
                                                  const Vocabulary& vocabulary,
                                                  const RequestLimits& limits) {
  absl::Status status = CheckOptions(request.options, limits);
  status.Update(CheckStops(request.options, vocabulary));
  status.Update(CheckSalt(request.cache_salt));
  if (!status.ok()) return status;
  engine::GenerateRequest result = std::move(request.options);
  // A turn may have no prompt, because it can go on from what the session holds.
  const bool later = request.prompt.empty() || request.prompt.messages.has_value();
  if (!request.has_turn() || !later) {
    auto tokens = TokensOf(std::move(request.prompt), vocabulary, limits);
    if (!tokens.ok()) return tokens.status();
    result.prompt = *std::move(tokens);
  }
  if (status = CheckShare(result, limits); !status.ok()) return status;
  result.tenant = tenant;
  if (!request.skip_prefix_cache) result.cache_scope = std::move(request.cache_salt);
  return result;
}

}  // namespace fmaserver::service
