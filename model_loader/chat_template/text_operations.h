// What Python's strings can do, with every byte keeping its origin.
#pragma once

#include <cstdint>
#include <string_view>

#include "model_loader/chat_template/marked_text.h"
#include "model_loader/chat_template/run.h"
#include "model_loader/chat_template/value.h"

namespace fmaserver::chat {

enum class Sides : uint8_t { kLeft, kRight, kBoth };

/// Without white space at its ends, or without the characters of `characters` if that is a text.
MarkedText Stripped(Run& run, const MarkedText& text, const Value& characters, Sides sides);

/// Cut at each `separator`, or at white space if that is no text; at most `most` times unless that
/// is negative.
Items Split(Run& run, const MarkedText& text, const Value& separator, int64_t most);
/// The same from the end, at a separator.
Items SplitFromEnd(Run& run, const MarkedText& text, const MarkedText& separator, int64_t most);

/// The first `most` occurrences replaced, or all if that is negative.
MarkedText Replaced(Run& run, const MarkedText& text, const MarkedText& old, const MarkedText& by,
                    int64_t most);

/// Where `part` first is in `text` at or after `from`, or npos.
size_t Position(Run& run, const MarkedText& text, const MarkedText& part, size_t from = 0);

/// Simple case mappings of Unicode: one character for one.
MarkedText Uppercase(Run& run, const MarkedText& text);
MarkedText Lowercase(Run& run, const MarkedText& text);
MarkedText Capitalized(Run& run, const MarkedText& text);
/// Every word capitalized; a word begins behind one of `separators`, or behind what is no letter
/// where that is empty.
MarkedText Titled(Run& run, const MarkedText& text, std::string_view separators);

Items Characters(Run& run, const MarkedText& text);
int64_t CountCharacters(const MarkedText& text);

MarkedText Joined(Run& run, const Items& items, const MarkedText& separator);

}  // namespace fmaserver::chat
