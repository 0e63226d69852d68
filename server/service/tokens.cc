#include "server/service/tokens.h"

#include <iterator>

#include "absl/strings/str_cat.h"

namespace fmaserver::service {

Vocabulary VocabularyOf(const engine::Engine& engine) {
  return {.tokenizer = engine.tokenizer(), .size = engine.model().config().vocab_size};
}

absl::Status IdNotAllowed(absl::string_view field, uint32_t id, const Vocabulary& vocabulary) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": ", id, " found; allowed are 0 to ", vocabulary.size - 1));
}

absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, const Vocabulary& vocabulary,
                                            const RequestLimits& limits) {
  if (vocabulary.tokenizer == nullptr) {
    return absl::FailedPreconditionError(
        "text: this model has no tokenizer; send token_ids instead");
  }
  if (absl::Status status = CheckText(text.size(), limits); !status.ok()) return status;
  auto tokens = vocabulary.tokenizer->Encode(text);
  if (!tokens.ok()) {
    return absl::Status(tokens.status().code(), absl::StrCat("text: ", tokens.status().message()));
  }
  return tokens;
}

absl::StatusOr<std::vector<int32_t>> CheckIds(absl::string_view field,
                                              std::span<const uint32_t> ids,
                                              const Vocabulary& vocabulary) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < vocabulary.size) continue;
    return IdNotAllowed(absl::StrCat(field, "[", i, "]"), ids[i], vocabulary);
  }
  return std::vector<int32_t>(ids.begin(), ids.end());
}

absl::StatusOr<std::vector<int32_t>> Tokenize(Call& call, std::string_view text,
                                              const Vocabulary& vocabulary) {
  auto tokens = Encode(text, vocabulary, call.limits());
  if (tokens.ok()) call.ChargePrompt(std::ssize(*tokens));
  return tokens;
}

absl::StatusOr<std::string> Detokenize(Call& call, std::span<const uint32_t> ids,
                                       const Vocabulary& vocabulary) {
  if (vocabulary.tokenizer == nullptr) {
    return absl::FailedPreconditionError("token_ids: this model has no tokenizer to decode with");
  }
  const auto tokens = CheckIds("token_ids", ids, vocabulary);
  if (!tokens.ok()) return tokens.status();
  call.ChargePrompt(std::ssize(*tokens));
  return vocabulary.tokenizer->Decode(*tokens);
}

}  // namespace fmaserver::service
