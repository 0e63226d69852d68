// The tokens that belong around a text: the key "post_processor".
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "model_loader/tokenizer.h"
#include "nlohmann/json.hpp"

namespace fmaserver::model {

/// TemplateProcessing for single texts, ByteLevel (which changes offsets only), and sequences of
/// them. INVALID_ARGUMENT names `origin`, the key, what was found and what is allowed.
absl::StatusOr<TokenFrame> ReadTokenFrame(const nlohmann::json& file, std::string_view origin,
                                          int64_t vocab_size);

}  // namespace fmaserver::model
