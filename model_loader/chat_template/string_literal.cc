#include "model_loader/chat_template/string_literal.h"

#include <charconv>
#include <cstddef>
#include <cstdint>

#include "base/utf8.h"
#include "model_loader/chat_template/template_error.h"

namespace fmaserver::chat {
namespace {

constexpr std::string_view kLetters = "abfnrtv\\'\"\n";
constexpr std::string_view kMeanings[] = {"\a", "\b", "\f", "\n", "\r", "\t",
                                          "\v", "\\", "'",  "\"", ""};

void AppendUtf8(uint32_t c, std::string& text) {
  const auto byte = [&text](uint32_t value) { text += static_cast<char>(value); };
  if (c < 0x80) return byte(c);
  if (c < 0x800) {
    byte(0xC0 | c >> 6);
  } else if (c < 0x10000) {
    byte(0xE0 | c >> 12);
    byte(0x80 | (c >> 6 & 0x3F));
  } else {
    byte(0xF0 | c >> 18);
    byte(0x80 | (c >> 12 & 0x3F));
    byte(0x80 | (c >> 6 & 0x3F));
  }
  byte(0x80 | (c & 0x3F));
}

/// Digits of a code that an escape begins with: \x41, \u0041, \U00000041.
size_t HexDigits(char letter) {
  return letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
}

/// Appends the character of the escape that `rest` begins with, behind its backslash, and returns
/// the escape's length.
size_t AppendEscape(std::string_view rest, int line, std::string& text) {
  const size_t known = kLetters.find(rest[0]);
  if (known != kLetters.npos) {
    text += kMeanings[known];
    return 1;
  }
  const size_t digits = HexDigits(rest[0]);
  if (digits == 0) {
    if (rest[0] == 'N' || (rest[0] >= '0' && rest[0] <= '7')) {
      throw TemplateError(line, "escape in a string", Concat("\\", rest.substr(0, 1)),
                          "\\n, \\t, \\x41, \\u0041 and the like");
    }
    text += '\\';
    return 0;
  }
  const std::string_view code = rest.substr(1, digits);
  uint32_t value = 0;
  const auto read = std::from_chars(code.data(), code.data() + code.size(), value, 16);
  const bool surrogate = value >= 0xD800 && value < 0xE000;
  if (code.size() < digits || read.ptr != code.data() + digits || value > 0x10FFFF || surrogate) {
    throw TemplateError(line, "escape in a string", Concat("\\", rest.substr(0, digits + 1)),
                        Concat(digits, " hexadecimal digits of a character"));
  }
  AppendUtf8(value, text);
  return digits + 1;
}

}  // namespace

std::string Unescaped(std::string_view literal, int line) {
  std::string text;
  while (!literal.empty()) {
    const size_t plain = std::min(literal.find('\\'), literal.size());
    text += literal.substr(0, plain);
    literal.remove_prefix(plain);
    if (literal.size() < 2) break;
    literal.remove_prefix(1 + AppendEscape(literal.substr(1), line, text));
  }
  return text;
}

}  // namespace fmaserver::chat
