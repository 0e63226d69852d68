// A template as tokens: its text, and what stands in its tags.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fmaserver::chat {

struct Token {
  enum class Kind : uint8_t {
    kText,          ///< between tags
    kPrint,         ///< {{
    kPrintEnd,      ///< }}
    kStatement,     ///< {%
    kStatementEnd,  ///< %}
    kName,
    kInteger,
    kString,  ///< without quotes and escapes
    kOperator,
    kEnd,
  };

  Kind kind = Kind::kEnd;
  std::string text;
  int line = 0;  ///< from 1
};

/// The tokens of `source`, UTF-8, with kEnd last. White space around tags is removed as Jinja does
/// with trim_blocks and lstrip_blocks. Throws TemplateError.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace fmaserver::chat
