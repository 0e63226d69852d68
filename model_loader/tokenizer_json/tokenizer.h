// The Tokenizer of a tokenizer.json.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "model_loader/tokenizer.h"

namespace fmaserver::model {

/// `json` is the content of a file as the library "tokenizers" writes it, with a model of type BPE;
/// it is copied. What "truncation" and "padding" say is not done. INVALID_ARGUMENT names `origin`,
/// the key, what was found and what is allowed; ids must be below `vocab_size`.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeJsonTokenizer(std::string_view json,
                                                             std::string_view origin,
                                                             int64_t vocab_size);

}  // namespace fmaserver::model
