#include "server/service/generate_request.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace fmaserver::service {
namespace {

absl::Status CheckStops(const engine::GenerateRequest& options, const Vocabulary& vocabulary) {
  if (options.stop.empty() || vocabulary.tokenizer != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "stop: this model has no tokenizer; send stop_token_ids instead");
}

absl::Status CheckSalt(const std::string& salt) {
  if (salt.size() <= kMaxCacheSaltBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "cache_salt: ", salt.size(), " bytes found; allowed are 0 to ", kMaxCacheSaltBytes));
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> TokensOf(Input input, const Vocabulary& vocabulary,
                                              const RequestLimits& limits) {
  if (input.empty()) {
    return absl::InvalidArgumentError(
        "text, token_ids: neither is set; exactly one of them must be");
  }
  const bool is_text = input.text.has_value();
  auto tokens = is_text ? Encode(*input.text, vocabulary, limits) : *std::move(input.ids);
  if (!tokens.ok()) return tokens.status();
  if (tokens->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(is_text ? "text" : "token_ids", ": 0 tokens found; at least 1 is needed"));
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
  // What a session holds already may be all there is to go on from.
  if (!request.has_turn() || !request.prompt.empty()) {
    auto tokens = TokensOf(std::move(request.prompt), vocabulary, limits);
    if (!tokens.ok()) return tokens.status();
    result.prompt = *std::move(tokens);
  }
  if (!request.skip_prefix_cache) {
    // No tenant's name holds a 0, so no salt can imitate another tenant.
    result.cache_scope = absl::StrCat(tenant, absl::string_view("\0", 1), request.cache_salt);
  }
  return result;
}

}  // namespace fmaserver::service
