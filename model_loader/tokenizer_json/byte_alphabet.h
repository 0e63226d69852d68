// The characters that stand for bytes in byte-level vocabularies.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fmaserver::model {

/// Printable characters of Latin-1 stand for themselves; each other byte, in order, has a character
/// from U+0100 on (GPT-2's scheme: "\u0120" is the space). Returns the bytes that `token` (valid
/// UTF-8) stands for; nothing when one of its characters stands for none.
std::optional<std::string> BytesOfSpelling(std::string_view token);

}  // namespace fmaserver::model
