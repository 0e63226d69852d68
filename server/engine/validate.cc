#include "server/engine/validate.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <random>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::engine {
namespace {

template <typename Value, typename... Allowed>
absl::Status OutOfRange(std::string_view field, const Value& value, const Allowed&... allowed) {
  return Refusal(field, value, Concat(allowed...));
}

/// Affirmative, so that NaN is out of range.
absl::Status ValidateRange(std::string_view field, double value, double least, double most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return OutOfRange(field, value, least, " to ", most);
}

absl::Status ValidateIds(std::string_view field, std::span<const int32_t> ids,
                         const model::ModelConfig& config) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < config.vocab_size) continue;
    return OutOfRange(Concat(field, "[", i, "]"), ids[i], "token ids 0 to ", config.vocab_size - 1);
  }
  return absl::OkStatus();
}

absl::Status ValidatePenalties(const SamplingParams& sampling) {
  absl::Status status = ValidateRange("repetition_penalty", sampling.repetition_penalty,
                                      kMinRepetitionPenalty, kMaxRepetitionPenalty);
  status.Update(
      ValidateRange("frequency_penalty", sampling.frequency_penalty, -kMaxPenalty, kMaxPenalty));
  status.Update(
      ValidateRange("presence_penalty", sampling.presence_penalty, -kMaxPenalty, kMaxPenalty));
  return status;
}

absl::Status ValidateTokenFilters(const SamplingParams& sampling,
                                  const model::ModelConfig& config) {
  absl::Status status = ValidateIds("allowed_token_ids", sampling.allowed_token_ids, config);
  status.Update(ValidateIds("banned_token_ids", sampling.banned_token_ids, config));
  for (const auto& [token, bias] : sampling.logit_bias) {
    const std::string field = Concat("logit_bias[", token, "]");
    if (token < 0 || token >= config.vocab_size) {
      status.Update(OutOfRange("token of logit_bias", token, "0 to ", config.vocab_size - 1));
    }
    status.Update(ValidateRange(field, bias, -kMaxLogitBias, kMaxLogitBias));
  }
  return status;
}

absl::Status ValidateSampling(const SamplingParams& sampling, const model::ModelConfig& config) {
  if (!(sampling.temperature >= 0) || std::isinf(sampling.temperature)) {
    return OutOfRange("temperature", sampling.temperature, "0 (greedy) or a positive number");
  }
  if (sampling.top_k < 0 || sampling.top_k > config.vocab_size) {
    return OutOfRange("top_k", sampling.top_k, "0 (all) to ", config.vocab_size);
  }
  if (!(sampling.top_p > 0 && sampling.top_p <= 1)) {
    return OutOfRange("top_p", sampling.top_p, "above 0, up to 1");
  }
  absl::Status status = ValidateRange("min_p", sampling.min_p, 0, 1);
  status.Update(ValidatePenalties(sampling));
  status.Update(ValidateTokenFilters(sampling, config));
  return status;
}

absl::Status ValidateStopStrings(const std::vector<std::string>& stop) {
  if (stop.size() > kMaxStops) {
    return OutOfRange("stop", Words{Concat(stop.size(), " strings")}, "at most ", kMaxStops);
  }
  for (size_t i = 0; i < stop.size(); ++i) {
    if (!stop[i].empty() && stop[i].size() <= kMaxStopBytes) continue;
    return OutOfRange(Concat("stop[", i, "]"), Words{Concat(stop[i].size(), " bytes long")},
                      "1 to ", kMaxStopBytes);
  }
  return absl::OkStatus();
}

absl::Status ValidateStopping(const GenerateRequest& request, const model::ModelConfig& config) {
  if (request.max_tokens < (request.keep_state ? 0 : 1)) {
    return OutOfRange("max_tokens", request.max_tokens,
                      request.keep_state ? "0 or more" : "1 or more");
  }
  if (request.min_tokens < 0 || request.min_tokens > request.max_tokens) {
    return OutOfRange("min_tokens", request.min_tokens, "0 to max_tokens, ", request.max_tokens);
  }
  if (!(request.time_limit_seconds > 0)) {
    return OutOfRange("time_limit_seconds", request.time_limit_seconds, "a positive number");
  }
  if (request.stop_token_ids.size() > kMaxStopTokenIds) {
    return OutOfRange("stop_token_ids", Words{Concat(request.stop_token_ids.size(), " ids")},
                      "at most ", kMaxStopTokenIds);
  }
  absl::Status status = ValidateIds("stop_token_ids", request.stop_token_ids, config);
  status.Update(ValidateStopStrings(request.stop));
  return status;
}

std::vector<int32_t> EosTokens(const GenerateRequest& request, const model::ModelConfig& config) {
  return request.ignore_eos ? std::vector<int32_t>() : config.eos_token_ids;
}

/// Before min_tokens neither tokens that stop the sequence nor banned ones may be drawn, so some
/// other token must be left. All ids must be valid.
absl::Status ValidateTokensLeft(const GenerateRequest& request, const model::ModelConfig& config) {
  const SamplingParams& sampling = request.sampling;
  std::vector<bool> left(static_cast<size_t>(config.vocab_size),
                         sampling.allowed_token_ids.empty());
  for (const int32_t token : sampling.allowed_token_ids) left[token] = true;
  for (const int32_t token : sampling.banned_token_ids) left[token] = false;
  if (request.min_tokens > 0) {
    for (const int32_t token : request.stop_token_ids) left[token] = false;
    for (const int32_t token : EosTokens(request, config)) left[token] = false;
  }
  if (std::ranges::find(left, true) != left.end()) return absl::OkStatus();
  return OutOfRange(
      "number of tokens that allowed_token_ids, banned_token_ids and min_tokens leave", 0,
      "1 or more");
}

absl::Status ValidateTopLogprobs(std::string_view field, int32_t count) {
  if (count >= 0 && count <= kMaxTopLogprobs) return absl::OkStatus();
  return OutOfRange(field, count, "0 to ", kMaxTopLogprobs);
}

absl::Status ValidateMarks(const GenerateRequest& request) {
  if (request.marks.size() > kMaxMarks) {
    return OutOfRange("marks", Words{Concat(request.marks.size(), " places")}, "at most ",
                      kMaxMarks);
  }
  const int64_t most = std::ssize(request.prompt) - request.pending;
  for (size_t i = 0; i < request.marks.size(); ++i) {
    if (request.marks[i] >= 1 && request.marks[i] <= most) continue;
    return OutOfRange(Concat("marks[", i, "]"), request.marks[i], "1 to ", most,
                      ", the tokens of the prompt");
  }
  return absl::OkStatus();
}

absl::Status ValidateSequence(const GenerateRequest& request, const model::ModelConfig& config) {
  const int64_t before = request.state.tokens();
  absl::Status status =
      ValidateTokens("prompt", request.prompt, config, before + std::ssize(request.prompt));
  status.Update(ValidateIds("generated", request.generated, config));
  if (request.pending < 0 || request.pending > std::ssize(request.prompt)) {
    status.Update(OutOfRange("pending", request.pending, "0 to ", request.prompt.size()));
  }
  if (request.n < 1 || request.n > kMaxSamples) {
    status.Update(OutOfRange("n", request.n, "1 to ", kMaxSamples));
  }
  if (request.n > 1 && request.keep_state) {
    status.Update(OutOfRange("n", request.n, "1 in a session, which can be forked instead"));
  }
  if (request.priority < kMinPriority || request.priority > kMaxPriority) {
    status.Update(OutOfRange("priority", request.priority, kMinPriority, " to ", kMaxPriority));
  }
  return status;
}

absl::Status Check(const GenerateRequest& request, const model::ModelConfig& config) {
  absl::Status status = ValidateSequence(request, config);
  status.Update(ValidateSampling(request.sampling, config));
  status.Update(ValidateStopping(request, config));
  status.Update(ValidateTopLogprobs("top_logprobs", request.top_logprobs));
  status.Update(ValidateTopLogprobs("prompt_logprobs", request.prompt_logprobs.value_or(0)));
  if (status.ok()) status = ValidateMarks(request);
  // ValidateTokensLeft relies on the checks above.
  return status.ok() ? ValidateTokensLeft(request, config) : status;
}

uint64_t RandomSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

absl::Status ValidateTokens(std::string_view field, std::span<const int32_t> tokens,
                            const model::ModelConfig& config, int64_t length) {
  if (tokens.empty()) {
    return Refusal(field, Words{"empty"}, "1 token or more");
  }
  if (length > config.MaxSequenceLength()) {
    return OutOfRange(field, Words{Concat("a sequence of ", length, " tokens")}, "at most ",
                      config.MaxSequenceLength(), ", the positions that this model has learned");
  }
  return ValidateIds(field, tokens, config);
}

absl::StatusOr<ValidGenerateRequest> Validate(GenerateRequest request,
                                              const model::ModelConfig& config) {
  if (absl::Status status = Check(request, config); !status.ok()) return status;
  // value_or would open the source of randomness even for a request that has a seed.
  const uint64_t seed = request.sampling.seed ? *request.sampling.seed : RandomSeed();
  std::vector<int32_t> eos_tokens = EosTokens(request, config);
  return ValidGenerateRequest(std::move(request), seed, std::move(eos_tokens));
}

absl::StatusOr<ValidScoreRequest> Validate(ScoreRequest request, const model::ModelConfig& config) {
  absl::Status status =
      ValidateTokens("tokens", request.tokens, config, std::ssize(request.tokens));
  status.Update(ValidateTopLogprobs("top_logprobs", request.top_logprobs));
  if (!status.ok()) return status;
  return ValidScoreRequest(std::move(request));
}

}  // namespace fmaserver::engine
