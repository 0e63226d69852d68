// UTF-8: validation, and repair of a byte stream that arrives in pieces.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace fmaserver {

/// The start of a byte sequence: one character, or the longest part that could begin one.
struct Utf8Prefix {
  enum class Kind { kCharacter, kIncomplete, kInvalid };
  Kind kind = Kind::kInvalid;
  size_t length = 1;  ///< bytes it takes; kIncomplete takes all that is there (at most 3)
};

/// Looks at the start of `bytes`, which must not be empty. Overlong forms, surrogates and values
/// above U+10FFFF are invalid (Unicode 15, table 3-7).
Utf8Prefix NextUtf8(std::string_view bytes);

/// INVALID_ARGUMENT names the offset of the first byte that belongs to no character.
absl::Status ValidateUtf8(std::string_view text);

/// `bytes` with every maximal invalid part replaced by U+FFFD (Unicode 15, section 3.9).
std::string ReplaceInvalidUtf8(std::string_view bytes);

/// Gives out whole characters only. However the bytes are cut, the outputs joined are what
/// ReplaceInvalidUtf8 makes of all the bytes.
class Utf8Stream {
 public:
  /// The characters that are complete after `bytes`; holds back an unfinished character (at most 3
  /// bytes).
  std::string Push(std::string_view bytes);

  /// U+FFFD when a character was left unfinished, else nothing. The stream is then as new.
  std::string Finish();

 private:
  std::string pending_;
};

}  // namespace fmaserver
