// The Tokenizer of a SentencePiece model.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "model_loader/tokenizer.h"

namespace fmaserver::model {

/// `bytes` is the content of a model file, which is copied. INVALID_ARGUMENT, naming `origin`, when
/// it is not one, or has more pieces than `vocab_size`.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSentencePieceTokenizer(std::string_view bytes,
                                                                      std::string_view origin,
                                                                      int64_t vocab_size);

}  // namespace fmaserver::model
