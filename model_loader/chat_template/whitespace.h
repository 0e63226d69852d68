// White space as Python sees it.
#pragma once

#include <cstddef>
#include <string_view>

namespace fmaserver::chat {

/// Bytes of the white space at the start and at the end of `text`, which is UTF-8.
size_t SpaceBefore(std::string_view text);
size_t SpaceBehind(std::string_view text);

/// Bytes of the character that `text` begins with; `text` is UTF-8 and not empty.
size_t CharacterLength(std::string_view text);

}  // namespace fmaserver::chat
