#include "server/engine/validate.h"

#include <cmath>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace fmaserver {
namespace {

template <typename Value, typename... Allowed>
absl::Status OutOfRange(absl::string_view field, Value value, const Allowed&... allowed) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; allowed: ", allowed...));
}

absl::Status ValidateSampling(const SamplingParams& sampling, const ModelConfig& config) {
  if (!(sampling.temperature >= 0) || std::isinf(sampling.temperature)) {
    return OutOfRange("temperature", sampling.temperature, "0 (greedy) or a positive number");
  }
  if (sampling.top_k < 0 || sampling.top_k > config.vocab_size) {
    return OutOfRange("top_k", sampling.top_k, "0 (all) to ", config.vocab_size);
  }
  if (!(sampling.top_p > 0 && sampling.top_p <= 1)) {
    return OutOfRange("top_p", sampling.top_p, "above 0, up to 1");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateTokens(absl::string_view field, std::span<const int32_t> tokens,
                            const ModelConfig& config, int64_t length) {
  if (tokens.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(field, " is empty; allowed: 1 token or more"));
  }
  if (length > config.MaxSequenceLength()) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " is a sequence of ", length, " tokens; allowed: at most ",
                     config.MaxSequenceLength(), ", the positions that this model has learned"));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= config.vocab_size) {
      return OutOfRange(absl::StrCat(field, "[", i, "]"), tokens[i], "token ids 0 to ",
                        config.vocab_size - 1);
    }
  }
  return absl::OkStatus();
}

absl::Status Validate(const GenerateRequest& request, const ModelConfig& config) {
  absl::Status status =
      ValidateTokens("prompt", request.prompt, config, static_cast<int64_t>(request.prompt.size()));
  status.Update(ValidateSampling(request.sampling, config));
  if (request.max_tokens < 1) {
    status.Update(OutOfRange("max_tokens", request.max_tokens, "1 or more"));
  }
  return status;
}

absl::Status Validate(const ScoreRequest& request, const ModelConfig& config) {
  absl::Status status =
      ValidateTokens("tokens", request.tokens, config, static_cast<int64_t>(request.tokens.size()));
  if (request.top_logprobs < 0 || request.top_logprobs > kMaxTopLogprobs) {
    status.Update(OutOfRange("top_logprobs", request.top_logprobs, "0 to ", kMaxTopLogprobs));
  }
  return status;
}

}  // namespace fmaserver
