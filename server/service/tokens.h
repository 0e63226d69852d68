// Text to tokens and back, within the limits, and charged to the caller.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model_loader/chat_template/chat_template.h"
#include "model_loader/sampling_defaults.h"
#include "model_loader/tokenizer.h"
#include "server/models/served_model.h"
#include "server/service/call.h"

namespace fmaserver::service {

/// What a model gives to read requests with.
struct Vocabulary {
  std::shared_ptr<const model::Tokenizer> tokenizer;  ///< null: the model is served by token ids
  int64_t size = 0;                                   ///< V
  std::shared_ptr<const chat::ChatTemplate> chat_template = {};  ///< null: there are no chats
  model::SamplingDefaults sampling = {};                         ///< for what a request leaves open
  std::optional<int32_t> mask_token = {};  ///< of encoders: stands for a token to be guessed
};

Vocabulary VocabularyOf(const models::ServedModel& model);

/// All of these return INVALID_ARGUMENT in the grammar of base/refusal.h, and FAILED_PRECONDITION
/// for text when the model has no tokenizer. Encoding takes time and memory in proportion to the
/// text.
absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, const Vocabulary& vocabulary,
                                            const RequestLimits& limits);
absl::StatusOr<std::vector<int32_t>> CheckIds(absl::string_view field,
                                              std::span<const uint32_t> ids,
                                              const Vocabulary& vocabulary);
absl::Status IdNotAllowed(std::string_view field, uint32_t id, const Vocabulary& vocabulary);

/// Puts what the model's makers put around a text around its tokens.
void Frame(const model::Tokenizer& tokenizer, std::vector<int32_t>& tokens);

/// The Tokenize and Detokenize calls.
absl::StatusOr<std::vector<int32_t>> Tokenize(Call& call, std::string_view text,
                                              const Vocabulary& vocabulary);
absl::StatusOr<std::string> Detokenize(Call& call, std::span<const uint32_t> ids,
                                       const Vocabulary& vocabulary);

}  // namespace fmaserver::service
