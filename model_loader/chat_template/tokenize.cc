#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "model_loader/chat_template/string_literal.h"
#include "model_loader/chat_template/template_error.h"
#include "model_loader/chat_template/token.h"
#include "model_loader/chat_template/whitespace.h"

namespace fmaserver::chat {
namespace {

using Kind = Token::Kind;

// Longer ones first.
constexpr std::array<std::string_view, 29> kOperators = {
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=",
    "(",  ")",  "[",  "]",  "{",  "}",  "|", ".", ",", ":", ";", "!", "@", "&"};

bool IsNameStart(char c) { return absl::ascii_isalpha(c) || c == '_'; }
bool IsNamePart(char c) { return absl::ascii_isalnum(c) || c == '_'; }

class Tokenizer {
 public:
  explicit Tokenizer(std::string source) : source_(std::move(source)), rest_(source_) {}

  std::vector<Token> Run() {
    while (!rest_.empty()) {
      const size_t tag = FindTag();
      Text(rest_.substr(0, tag));
      if (!rest_.empty()) Tag();
    }
    Add(Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  /// Where the next tag begins, or the size of what is left.
  size_t FindTag() const {
    for (size_t at = rest_.find('{'); at != std::string_view::npos; at = rest_.find('{', at + 1)) {
      const std::string_view next = rest_.substr(at + 1, 1);
      if (next == "{" || next == "%" || next == "#") return at;
    }
    return rest_.size();
  }

  /// Emits the text before a tag, less what the tag takes from it.
  void Text(std::string_view text) {
    const std::string_view tag = rest_.substr(text.size(), 3);
    const bool is_print = tag.starts_with("{{");
    std::string_view kept = text;
    if (tag.ends_with('-') && tag.size() == 3) {
      kept.remove_suffix(SpaceBehind(kept));
    } else if (!tag.empty() && !is_print && !tag.ends_with('+')) {
      kept = WithoutIndent(kept);
    }
    if (!kept.empty()) Add(Kind::kText, std::string(kept));
    Skip(text.size());
  }

  /// Without the white space of the last line, if there is nothing else in it.
  std::string_view WithoutIndent(std::string_view text) const {
    const size_t line = text.rfind('\n') + 1;
    const std::string_view last = text.substr(line);
    const bool whole_line = line > 0 || at_line_start_;
    return whole_line && SpaceBefore(last) == last.size() ? text.substr(0, line) : text;
  }

  void Tag() {
    const char kind = rest_[1];
    Skip(2);
    if (!rest_.empty() && (rest_[0] == '-' || rest_[0] == '+')) Skip(1);
    if (kind == '#') return Comment();
    Add(kind == '{' ? Kind::kPrint : Kind::kStatement, "");
    brackets_.clear();
    while (!TagEnds(kind == '{' ? "}}" : "%}")) InTag();
    Add(kind == '{' ? Kind::kPrintEnd : Kind::kStatementEnd, "");
  }

  void Comment() {
    const size_t end = rest_.find("#}");
    if (end == std::string_view::npos) {
      throw TemplateError(line_, "comment", Words{"without an end"}, "#}");
    }
    const bool signed_end = end > 0 && (rest_[end - 1] == '-' || rest_[end - 1] == '+');
    Skip(end - (signed_end ? 1 : 0));
    TagEnds("#}");
  }

  /// Skips white space in a tag, and its end if it is here, with the white space that it takes.
  bool TagEnds(std::string_view end) {
    if (end != "#}") Skip(SpaceBefore(rest_));
    if (!brackets_.empty()) return false;
    const bool minus = rest_.starts_with('-') && rest_.substr(1).starts_with(end);
    const bool plus = end != "}}" && rest_.starts_with('+') && rest_.substr(1).starts_with(end);
    if (!minus && !plus && !rest_.starts_with(end)) return false;
    Skip(end.size() + (minus || plus ? 1 : 0));
    size_t taken = 0;
    if (minus) taken = SpaceBefore(rest_);
    if (!minus && !plus && end != "}}" && rest_.starts_with('\n')) taken = 1;
    at_line_start_ = taken > 0 && rest_[taken - 1] == '\n';
    Skip(taken);
    return true;
  }

  void InTag() {
    if (rest_.empty()) throw TemplateError(line_, "tag", Words{"without an end"}, "}} or %}");
    const char first = rest_[0];
    if (IsNameStart(first)) {
      const auto* end = std::find_if_not(rest_.begin(), rest_.end(), IsNamePart);
      Take(Kind::kName, end - rest_.begin());
    } else if (absl::ascii_isdigit(first)) {
      Number();
    } else if (first == '"' || first == '\'') {
      String(first);
    } else {
      Operator();
    }
  }

  void Number() {
    const auto* end = std::find_if_not(rest_.begin(), rest_.end(), IsNamePart);
    const std::string_view digits = rest_.substr(0, end - rest_.begin());
    const std::string_view behind = rest_.substr(digits.size());
    const bool in_path = !tokens_.empty() && tokens_.back().text == ".";  // of a.0.1
    const bool fraction = behind.size() > 1 && behind[0] == '.' && absl::ascii_isdigit(behind[1]);
    if ((fraction && !in_path) || !std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit)) {
      throw TemplateError(line_, "number", digits, "whole numbers in decimal");
    }
    Take(Kind::kInteger, digits.size());
  }

  void String(char quote) {
    size_t end = 1;
    while (end < rest_.size() && rest_[end] != quote) end += rest_[end] == '\\' ? 2 : 1;
    if (end >= rest_.size()) {
      throw TemplateError(line_, "string", Words{"without an end"}, std::string(1, quote));
    }
    Add(Kind::kString, Unescaped(rest_.substr(1, end - 1), line_));
    Skip(end + 1);
  }

  void Operator() {
    const auto* found =
        std::find_if(kOperators.begin(), kOperators.end(),
                     [this](std::string_view one) { return rest_.starts_with(one); });
    if (found == kOperators.end()) {
      throw TemplateError(line_, "character in a tag", rest_.substr(0, CharacterLength(rest_)),
                          "names, numbers, strings and operators");
    }
    Balance(found->front());
    Take(Kind::kOperator, found->size());
  }

  /// The end of a tag does not count inside of brackets.
  void Balance(char bracket) {
    constexpr std::string_view kOpen = "([{";
    constexpr std::string_view kClose = ")]}";
    if (kOpen.find(bracket) != kOpen.npos) brackets_.push_back(bracket);
    const size_t kind = kClose.find(bracket);
    if (kind == kClose.npos) return;
    if (brackets_.empty() || brackets_.back() != kOpen[kind]) {
      throw TemplateError(line_, "bracket", std::string_view(&bracket, 1),
                          "the one that was opened last");
    }
    brackets_.pop_back();
  }

  void Take(Kind kind, size_t length) {
    Add(kind, std::string(rest_.substr(0, length)));
    Skip(length);
  }

  void Add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void Skip(size_t length) {
    line_ += static_cast<int>(std::count(rest_.begin(), rest_.begin() + length, '\n'));
    rest_.remove_prefix(length);
  }

  const std::string source_;
  std::string_view rest_;
  std::string brackets_;
  std::vector<Token> tokens_;
  bool at_line_start_ = true;
  int line_ = 1;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) {
  std::string lines = absl::StrReplaceAll(ToAbsl(source), {{"\r\n", "\n"}, {"\r", "\n"}});
  // Jinja drops the end of the last line.
  if (lines.ends_with('\n')) lines.pop_back();
  return Tokenizer(std::move(lines)).Run();
}

}  // namespace fmaserver::chat
