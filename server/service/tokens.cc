#include "server/service/tokens.h"

#include <iterator>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::service {

Vocabulary VocabularyOf(const models::ServedModel& model) {
  const model::ModelConfig& config = model.runner().config();
  return {.tokenizer = model.runner().tokenizer(),
          .size = config.vocab_size,
          .chat_template = model.chat_template(),
          .sampling = model.sampling_defaults(),
          .mask_token = config.mask_token_id};
}

absl::Status IdNotAllowed(std::string_view field, uint32_t id, const Vocabulary& vocabulary) {
  return Refusal(field, id, FromTo<int64_t>(0, vocabulary.size - 1));
}

absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, const Vocabulary& vocabulary,
                                            const RequestLimits& limits) {
  if (vocabulary.tokenizer == nullptr) {
    return Refusal("text", Words{"set"}, "token_ids instead: this model has no tokenizer",
                   absl::StatusCode::kFailedPrecondition);
  }
  if (absl::Status status = CheckText(text.size(), limits); !status.ok()) return status;
  auto tokens = vocabulary.tokenizer->Encode(text);
  if (!tokens.ok()) {
    return At("text", tokens.status());
  }
  return tokens;
}

void Frame(const model::Tokenizer& tokenizer, std::vector<int32_t>& tokens) {
  const model::TokenFrame frame = tokenizer.Frame();
  tokens.insert(tokens.begin(), frame.before.begin(), frame.before.end());
  tokens.insert(tokens.end(), frame.behind.begin(), frame.behind.end());
}

absl::StatusOr<std::vector<int32_t>> CheckIds(absl::string_view field,
                                              std::span<const uint32_t> ids,
                                              const Vocabulary& vocabulary) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < vocabulary.size) continue;
    return IdNotAllowed(Concat(field, "[", i, "]"), ids[i], vocabulary);
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
    return Refusal("token_ids", Words{"set"}, "none: this model has no tokenizer",
                   absl::StatusCode::kFailedPrecondition);
  }
  const auto tokens = CheckIds("token_ids", ids, vocabulary);
  if (!tokens.ok()) return tokens.status();
  call.ChargePrompt(std::ssize(*tokens));
  return vocabulary.tokenizer->Decode(*tokens);
}

}  // namespace fmaserver::service
