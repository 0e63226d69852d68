#include "server/config_text.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "base/byte_order_mark.h"
#include "base/refusal.h"

namespace fmaserver {
namespace {

constexpr char kOrigin[] = "--config";
constexpr std::string_view kBlanks = " \t\r";

/// Reads a text from its start to its end.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  absl::StatusOr<std::vector<ConfigEntry>> ReadAll() {
    std::vector<ConfigEntry> entries;
    while (SkipToNext(/*lines=*/true)) {
      auto entry = ReadEntry();
      if (!entry.ok()) return entry.status();
      entries.push_back(*std::move(entry));
    }
    return entries;
  }

 private:
  bool AtEnd() const { return at_ == text_.size(); }
  char Next() const { return text_[at_]; }
  void Advance() { line_ += text_[at_++] == '\n' ? 1 : 0; }

  absl::Status Refuse(std::string_view what, std::string_view found,
                      std::string_view allowed) const {
    return Refusal(At(Concat(kOrigin, ", line ", line_), what), found, allowed);
  }

  /// Skips blanks and comments, also over the ends of `lines`; false at the end of the text.
  bool SkipToNext(bool lines) {
    while (!AtEnd()) {
      if (Next() == '#' || (lines && Next() == ';')) {
        while (!AtEnd() && Next() != '\n') Advance();
      } else if (kBlanks.find(Next()) != std::string_view::npos || (lines && Next() == '\n')) {
        Advance();
      } else {
        return true;
      }
    }
    return false;
  }

  /// Everything up to one of `ends` or a comment, without the blanks around it.
  std::string ReadWord(std::string_view ends) {
    const size_t begin = at_;
    const auto is_comment = [&] {
      return Next() == '#' && (at_ == 0 || kBlanks.find(text_[at_ - 1]) != std::string_view::npos);
    };
    while (!AtEnd() && ends.find(Next()) == std::string_view::npos && !is_comment()) Advance();
    return std::string(absl::StripAsciiWhitespace(ToAbsl(text_.substr(begin, at_ - begin))));
  }

  absl::StatusOr<ConfigEntry> ReadEntry() {
    ConfigEntry entry{.key = {}, .values = {}, .line = line_};
    if (Next() == '[') return Refuse("section", ReadWord("\n"), "keys alone, without sections");
    entry.key = ReadWord("=\n");
    if (AtEnd() || Next() != '=') {
      entry.values = {"true"};
      return entry;
    }
    Advance();
    SkipToNext(/*lines=*/false);
    const absl::Status status = ReadValues(entry.values);
    if (!status.ok()) return status;
    SkipToNext(/*lines=*/false);
    if (AtEnd() || Next() == '\n') return entry;
    return Refuse("what follows the value", ReadWord("\n"), "a comment");
  }

  absl::Status ReadValues(std::vector<std::string>& values) {
    if (AtEnd() || Next() != '[') return ReadValue("\n", values);
    Advance();
    while (SkipToNext(/*lines=*/true) && Next() != ']') {
      if (absl::Status status = ReadValue(",]\n", values); !status.ok()) return status;
      if (!SkipToNext(/*lines=*/true)) break;
      if (Next() == ',') {
        Advance();
      } else if (Next() != ']') {
        return Refuse("what follows a value of a list", ReadWord("\n"), ", or ]");
      }
    }
    if (AtEnd()) return Refuse("list", "", "values up to a ]");
    Advance();
    return absl::OkStatus();
  }

  absl::Status ReadValue(std::string_view ends, std::vector<std::string>& values) {
    if (AtEnd() || (Next() != '"' && Next() != '\'')) {
      values.push_back(ReadWord(ends));
      return absl::OkStatus();
    }
    const char quote = Next();
    const bool escapes = quote == '"';
    Advance();
    const size_t begin = at_;
    while (!AtEnd() && Next() != quote && Next() != '\n') {
      if (escapes && Next() == '\\') Advance();
      if (!AtEnd()) Advance();
    }
    const std::string_view text = text_.substr(begin, at_ - begin);
    if (AtEnd() || Next() != quote) {
      return Refuse("text", text, Concat("an end by ", std::string(1, quote), " on its line"));
    }
    Advance();
    std::string value(text);
    if (escapes && !absl::CUnescape(ToAbsl(text), &value)) {
      return Refuse("text", text, R"(the escapes \" \\ \n \r \t \xHH; or '...' without any)");
    }
    values.push_back(std::move(value));
    return absl::OkStatus();
  }

  const std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
};

}  // namespace

absl::StatusOr<std::vector<ConfigEntry>> ParseConfigText(std::string_view text) {
  const auto plain = WithoutByteOrderMark(text, kOrigin);
  if (!plain.ok()) return plain.status();
  return Reader(*plain).ReadAll();
}

std::string ConfigValue(std::string_view value) {
  const bool number =
      !value.empty() && value.find_first_not_of("0123456789.") == std::string_view::npos;
  if (number || value == "true" || value == "false") return std::string(value);
  return Concat("\"", absl::CHexEscape(ToAbsl(value)), "\"");
}

}  // namespace fmaserver
