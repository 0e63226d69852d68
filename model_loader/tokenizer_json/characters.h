// Kinds of characters at the ends of a text.
#pragma once

#include <cstddef>
#include <string_view>

namespace fmaserver::model {

/// Texts are valid UTF-8. Bytes of white space (Unicode's White_Space).
size_t SpaceAtStart(std::string_view text);
size_t SpaceAtEnd(std::string_view text);

/// Whether the outermost character is a letter, a mark, a digit or joins words like an underscore.
bool BeginsInWord(std::string_view text);
bool EndsInWord(std::string_view text);

}  // namespace fmaserver::model
