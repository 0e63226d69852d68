#include "model_loader/tokenizer_json/pattern_syntax.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "base/refusal.h"
#include "base/text.h"
#include "base/utf8.h"

namespace fmaserver::model {
namespace {

constexpr std::string_view kHexadecimal = "0123456789abcdefABCDEF";

/// A part of a pattern: one character, or a set of them.
struct Atom {
  std::string pcre2;
  bool is_set = false;
};

/// White space of Unicode. PCRE2's own \s also takes U+180E.
constexpr std::array<std::pair<char, std::string_view>, 4> kSets = {
    {{'s', "\\p{White_Space}"}, {'S', "\\P{White_Space}"}, {'d', "\\p{Nd}"}, {'D', "\\P{Nd}"}}};
constexpr std::array<std::pair<char, std::string_view>, 5> kControls = {
    {{'r', "\\r"}, {'n', "\\n"}, {'t', "\\t"}, {'f', "\\f"}, {'v', "\\x{0b}"}}};
constexpr std::array<std::string_view, 8> kGroups = {
    "(?:", "(?i:", "(?>", "(?=", "(?!", "(?<=", "(?<!", "("};

template <typename Table>
std::optional<std::string_view> Find(const Table& table, char key) {
  for (const auto& [name, value] : table) {
    if (name == key) return value;
  }
  return std::nullopt;
}

/// Whether `name` is a general category: \p{L}, \p{Lu}. Anything else is taken for a script.
bool IsCategory(std::string_view name) {
  return name.size() == 1 || (name.size() == 2 && absl::ascii_islower(name[1]));
}

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view where) : rest_(pattern), where_(where) {
    size_ = pattern.size();
  }

  absl::StatusOr<std::string> Translate() {
    while (!rest_.empty()) {
      if (absl::Status status = Next(); !status.ok()) return status;
    }
    return std::move(out_);
  }

 private:
  absl::Status Next() {
    const char first = rest_.front();
    if (first == '[') return Class();
    if (first == '(') return Group();
    if (first == '{') return Bounds();
    if (first == '*' || first == '+' || first == '?') return Quantifier();
    if (first == '^' || first == '$') {
      // In Ruby's syntax these are always the ends of a line.
      out_ += Concat("(?m:", rest_.substr(0, 1), ")");
      rest_.remove_prefix(1);
      return absl::OkStatus();
    }
    if (first == '.' || first == '|' || first == ')') {
      out_ += first;
      rest_.remove_prefix(1);
      return absl::OkStatus();
    }
    const absl::StatusOr<Atom> atom = NextAtom();
    if (atom.ok()) out_ += atom->pcre2;
    return atom.status();
  }

  absl::Status Group() {
    for (const std::string_view group : kGroups) {
      if (!Take(group)) continue;
      if (rest_.starts_with('?')) return Unsupported("(?", "a group of another kind");
      out_ += group == "(" ? "(?:" : group;
      return absl::OkStatus();
    }
    return absl::OkStatus();  // not reached: "(" is the last of kGroups
  }

  absl::Status Quantifier() {
    out_ += rest_.front();
    rest_.remove_prefix(1);
    for (const char kind : {'?', '+'}) {
      if (!Take(std::string_view(&kind, 1))) continue;
      out_ += kind;
      break;
    }
    return absl::OkStatus();
  }

  /// {n}, {n,}, {n,m}. Behind them Ruby reads ? and + in ways of its own.
  absl::Status Bounds() {
    const size_t end = rest_.find('}');
    const std::string_view inside = rest_.substr(1, end == rest_.npos ? end : end - 1);
    const bool is_plain = end != rest_.npos && !inside.empty() && absl::ascii_isdigit(inside[0]) &&
                          inside.find_first_not_of("0123456789,") == inside.npos &&
                          std::count(inside.begin(), inside.end(), ',') <= 1;
    if (!is_plain) return Unsupported("{", "{n}, {n,}, {n,m}, or \\{");
    out_ += rest_.substr(0, end + 1);
    rest_.remove_prefix(end + 1);
    if (rest_.starts_with('?') || rest_.starts_with('+')) {
      return Unsupported(rest_.substr(0, 1), "greedy repetition behind {n,m}");
    }
    return absl::OkStatus();
  }

  absl::Status Class() {
    Take("[");
    out_ += '[';
    if (Take("^")) out_ += '^';
    for (bool first = true;; first = false) {
      if (rest_.empty()) return Unsupported("", "] at the end of a set");
      if (!first && Take("]")) break;
      if (absl::Status status = ClassItem(first); !status.ok()) return status;
    }
    out_ += ']';
    return absl::OkStatus();
  }

  /// A character, a range or a set inside of [...].
  absl::Status ClassItem(bool first) {
    if (rest_.starts_with('[') || rest_.starts_with(']') || rest_.starts_with("&&")) {
      return Unsupported(rest_.substr(0, 1),
                         "a set without sets inside, [ ] and && as \\[ \\] \\&");
    }
    if (rest_.starts_with('-') && !first && !rest_.starts_with("-]")) {
      return Unsupported("-", "- between two characters, first, last, or as \\-");
    }
    const absl::StatusOr<Atom> from = NextAtom();
    if (!from.ok()) return from.status();
    out_ += from->pcre2;
    if (!rest_.starts_with('-') || rest_.starts_with("-]")) return absl::OkStatus();
    Take("-");
    if (rest_.starts_with('[')) return Unsupported("[", "a character at the end of a range");
    const absl::StatusOr<Atom> to = NextAtom();
    if (!to.ok()) return to.status();
    if (from->is_set || to->is_set) return Unsupported("-", "ranges between characters");
    out_ += '-';
    out_ += to->pcre2;
    return absl::OkStatus();
  }

  absl::StatusOr<Atom> NextAtom() {
    if (rest_.empty()) return Unsupported("", "a character");
    if (Take("\\")) return Escape();
    const std::string_view character = rest_.substr(0, NextUtf8(rest_).length);
    rest_.remove_prefix(character.size());
    return Atom{Literal(character)};
  }

  absl::StatusOr<Atom> Escape() {
    if (rest_.empty()) return Unsupported("\\", "a character behind it");
    const char kind = rest_.front();
    if (absl::ascii_ispunct(kind)) {
      rest_.remove_prefix(1);
      return Atom{Literal(std::string_view(&kind, 1))};
    }
    const std::optional<std::string_view> set = Find(kSets, kind);
    const std::optional<std::string_view> control = Find(kControls, kind);
    if (set.has_value() || control.has_value()) {
      rest_.remove_prefix(1);
      return Atom{std::string(set.value_or(control.value_or(""))), set.has_value()};
    }
    if (kind == 'p' || kind == 'P') return Property();
    if (kind == 'x' || kind == 'u') return Code();
    return Unsupported(
        Concat("\\", rest_.substr(0, 1)),
        "\\s \\S \\d \\D \\r \\n \\t \\f \\v \\p \\P \\x \\u, and \\ before punctuation");
  }

  /// \p{Lu}: a general category, or the name of a script, which PCRE2 would read as "script
  /// extensions".
  absl::StatusOr<Atom> Property() {
    const std::string kind = Concat("\\", rest_.substr(0, 1));
    const size_t end = rest_.find('}');
    if (!rest_.substr(1).starts_with('{') || end == rest_.npos) {
      return Unsupported(kind, "a name in braces behind it");
    }
    std::string_view name = rest_.substr(2, end - 2);
    const bool negated = name.starts_with('^');
    if (negated) name.remove_prefix(1);
    if (name.empty() || !std::all_of(name.begin(), name.end(), absl::ascii_isalpha)) {
      return Unsupported(Concat(kind, "{", name, "}"), "a general category or a script");
    }
    rest_.remove_prefix(end + 1);
    return Atom{Concat(kind, "{", negated ? "^" : "", IsCategory(name) ? "" : "sc:", name, "}"),
                /*is_set=*/true};
  }

  /// \x41, \x{41}, \u0041.
  absl::StatusOr<Atom> Code() {
    const size_t most = rest_.front() == 'x' ? 2 : 4;
    const std::string kind = Concat("\\", rest_.substr(0, 1));
    rest_.remove_prefix(1);
    const bool braces = kind == "\\x" && Take("{");
    std::string_view digits = rest_.substr(0, rest_.find_first_not_of(kHexadecimal));
    if (!braces) digits = digits.substr(0, most);
    const bool fits = braces ? !digits.empty() && digits.size() <= 6 : digits.size() == most;
    rest_.remove_prefix(digits.size());
    if (!fits || (braces && !Take("}"))) return Unsupported(kind, "\\xHH, \\x{H...} or \\uHHHH");
    return Atom{Concat("\\x{", digits, "}")};
  }

  static std::string Literal(std::string_view character) {
    return absl::ascii_ispunct(character.front()) ? Concat("\\", character)
                                                  : std::string(character);
  }

  bool Take(std::string_view prefix) {
    if (!rest_.starts_with(prefix)) return false;
    rest_.remove_prefix(prefix.size());
    return true;
  }

  absl::Status Unsupported(std::string_view part, std::string_view allowed) const {
    const std::string place = Concat("regular expression at byte ", size_ - rest_.size());
    return part.empty() ? Refusal(At(where_, place), Words{"its end"}, allowed)
                        : Refusal(At(where_, place), part, allowed);
  }

  std::string_view rest_;
  const std::string_view where_;
  size_t size_ = 0;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> ToPcre2Syntax(std::string_view pattern, std::string_view where) {
  return Translator(pattern, where).Translate();
}

}  // namespace fmaserver::model
