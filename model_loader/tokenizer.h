// Text <-> token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model_loader/control_places.h"

namespace fmaserver::model {

/// What a model's makers put around a text: "<s>" before it, say.
struct TokenFrame {
  std::vector<int32_t> before;
  std::vector<int32_t> behind;
};

/// Thread-safe: every method is const and may be called from any thread.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// The tokens of `text` alone, without the frame. INVALID_ARGUMENT, naming the byte offset, when
  /// it is not valid UTF-8.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                                      const ControlPlaces& control) const = 0;

  /// A user's text.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const {
    return Encode(text, ControlTokens::kStayText);
  }

  /// The bytes that `id` adds to a text that has already begun; empty for control tokens. One token
  /// may hold a part of a UTF-8 character. `id` must be in [0, VocabSize()).
  virtual std::string TokenBytes(int32_t id) const = 0;

  /// How a control token is spelled; empty for others, and for those without a spelling. `id` must
  /// be in [0, VocabSize()).
  virtual std::string ControlText(int32_t /*id*/) const { return {}; }

  /// The text of a whole sequence (undoes the dummy prefix that some models put first). Bytes that
  /// are not a UTF-8 character become U+FFFD. OUT_OF_RANGE names an unknown id.
  virtual absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const = 0;

  virtual int32_t VocabSize() const = 0;

  /// The frame that the tokenizer's file tells of; others are empty.
  virtual TokenFrame Frame() const { return {}; }

  /// "sentencepiece", "tokenizer.json" or "bytes".
  virtual std::string_view Kind() const = 0;
};

inline constexpr int32_t kByteValues = 256;

/// id = byte value; ids from kByteValues up to `vocab_size` are specials without text.
std::unique_ptr<Tokenizer> MakeByteTokenizer(int64_t vocab_size);

}  // namespace fmaserver::model
