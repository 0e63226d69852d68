// The Tokenizer of a SentencePiece model.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "model_loader/tokenizer.h"

namespace fmaserver::model {

/// LoadSentencePiece for a file that is in memory: `bytes` is its content, which is copied.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSentencePieceTokenizer(std::string_view bytes,
                                                                      std::string_view origin,
                                                                      int64_t vocab_size);

}  // namespace fmaserver::model
