// tokenizer_config.json: the texts of special tokens that a chat template spells.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "model_loader/chat_template/chat_template.h"

namespace fmaserver::model {

/// Those of bos_token, eos_token, unk_token and pad_token that there are. Each is a text or, as
/// some files have it, an object with the text in "content". INVALID_ARGUMENT names `origin`, the
/// key, what was found and what is allowed.
absl::StatusOr<chat::SpecialTexts> ParseSpecialTexts(std::string_view json,
                                                     std::string_view origin);

}  // namespace fmaserver::model
