#include "model_loader/chat_template/text_operations.h"

#include <utf8proc.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "model_loader/chat_template/template_error.h"
#include "model_loader/chat_template/whitespace.h"

namespace fmaserver::chat {
namespace {

constexpr size_t kNone = std::string_view::npos;

/// The bytes at the start, or at the end, that are among the characters of `set`.
size_t AmongBefore(std::string_view text, std::string_view set) {
  size_t done = 0;
  while (done < text.size()) {
    const size_t length = CharacterLength(text.substr(done));
    if (set.find(text.substr(done, length)) == kNone) break;
    done += length;
  }
  return done;
}

size_t AmongBehind(std::string_view text, std::string_view set) {
  const size_t size = text.size();
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while ((static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    if (set.find(text.substr(start)) == kNone) break;
    text.remove_suffix(text.size() - start);
  }
  return size - text.size();
}

int64_t Limit(int64_t most) { return most < 0 ? std::numeric_limits<int64_t>::max() : most; }

Items SplitAtSpace(Run& run, const MarkedText& text, int64_t most) {
  Items parts;
  const std::string_view bytes = text.bytes();
  size_t begin = SpaceBefore(bytes);
  while (begin < bytes.size()) {
    run.Step();
    size_t end = begin;
    const bool last = std::cmp_greater_equal(parts.size(), Limit(most));
    while (end < bytes.size() && (last || SpaceBefore(bytes.substr(end)) == 0)) {
      end += CharacterLength(bytes.substr(end));
    }
    parts.emplace_back(text.Slice(begin, end));
    begin = end + SpaceBefore(bytes.substr(end));
    if (last) break;
  }
  return parts;
}

using CaseMap = utf8proc_int32_t (*)(utf8proc_int32_t);

/// Each character through the mapping that `choose` gives for it.
template <typename Choose>
MarkedText Mapped(Run& run, const MarkedText& text, Choose choose) {
  run.Touch(2 * text.size());
  MarkedText mapped;
  const std::string_view bytes = text.bytes();
  utf8proc_int32_t before = -1;
  for (size_t at = 0; at < bytes.size();) {
    utf8proc_int32_t character = 0;
    const auto* start = reinterpret_cast<const utf8proc_uint8_t*>(bytes.data() + at);
    const auto length =
        utf8proc_iterate(start, static_cast<utf8proc_ssize_t>(bytes.size() - at), &character);
    utf8proc_uint8_t spelled[4];
    const CaseMap map = choose(before, character);
    const auto size = utf8proc_encode_char(map(character), spelled);
    mapped.Append({reinterpret_cast<const char*>(spelled), static_cast<size_t>(size)},
                  text.OriginAt(at));
    at += length;
    before = character;
  }
  return mapped;
}

bool IsCased(utf8proc_int32_t character) {
  return utf8proc_tolower(character) != utf8proc_toupper(character);
}

}  // namespace

MarkedText Stripped(Run& run, const MarkedText& text, const Value& characters, Sides sides) {
  std::string_view bytes = text.bytes();
  run.Touch(bytes.size());
  const bool is_set = characters.IsText();
  const std::string_view set = is_set ? characters.text().bytes() : std::string_view();
  size_t begin = 0;
  if (sides != Sides::kRight) begin = is_set ? AmongBefore(bytes, set) : SpaceBefore(bytes);
  bytes.remove_prefix(begin);
  size_t behind = 0;
  if (sides != Sides::kLeft) behind = is_set ? AmongBehind(bytes, set) : SpaceBehind(bytes);
  return text.Slice(begin, text.size() - behind);
}

size_t Position(Run& run, const MarkedText& text, const MarkedText& part, size_t from) {
  const size_t place = text.bytes().find(part.bytes(), from);
  const size_t read = std::min(place, text.size()) - std::min(from, text.size());
  // A long part may be compared almost whole at each place.
  run.Touch((read + 1) * (1 + part.size() / 64));
  return place;
}

Items Split(Run& run, const MarkedText& text, const Value& separator, int64_t most) {
  run.Touch(text.size());
  if (!separator.IsText()) return SplitAtSpace(run, text, most);
  const MarkedText& cut = separator.text();
  if (cut.size() == 0) throw TemplateError(0, "separator", Words{"empty"}, "a text");
  Items parts;
  size_t begin = 0;
  while (std::cmp_less(parts.size(), Limit(most))) {
    const size_t end = Position(run, text, cut, begin);
    if (end == kNone) break;
    run.Step();
    parts.emplace_back(text.Slice(begin, end));
    begin = end + cut.size();
  }
  parts.emplace_back(text.Slice(begin, text.size()));
  return parts;
}

Items SplitFromEnd(Run& run, const MarkedText& text, const MarkedText& separator, int64_t most) {
  run.Touch((text.size() + 1) * (1 + separator.size() / 64));
  if (separator.size() == 0) throw TemplateError(0, "separator", Words{"empty"}, "a text");
  Items parts;
  std::string_view left = text.bytes();
  while (std::cmp_less(parts.size(), Limit(most))) {
    const size_t cut = left.rfind(separator.bytes());
    if (cut == kNone) break;
    run.Step();
    parts.emplace_back(text.Slice(cut + separator.size(), left.size()));
    left = left.substr(0, cut);
  }
  parts.emplace_back(text.Slice(0, left.size()));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

MarkedText Replaced(Run& run, const MarkedText& text, const MarkedText& old, const MarkedText& by,
                    int64_t most) {
  if (old.size() == 0) throw TemplateError(0, "what is replaced", Words{"empty"}, "a text");
  MarkedText result;
  size_t begin = 0;
  for (int64_t done = 0; done < Limit(most); ++done) {
    const size_t end = Position(run, text, old, begin);
    if (end == kNone) break;
    run.Step();
    run.Touch(by.size());
    result.Append(text, begin, end);
    result.Append(by);
    begin = end + old.size();
  }
  run.Touch(text.size());
  result.Append(text, begin, text.size());
  return result;
}

MarkedText Uppercase(Run& run, const MarkedText& text) {
  return Mapped(run, text, [](auto, auto) -> CaseMap { return utf8proc_toupper; });
}

MarkedText Lowercase(Run& run, const MarkedText& text) {
  return Mapped(run, text, [](auto, auto) -> CaseMap { return utf8proc_tolower; });
}

MarkedText Capitalized(Run& run, const MarkedText& text) {
  return Mapped(run, text, [](auto before, auto) -> CaseMap {
    return before < 0 ? utf8proc_totitle : utf8proc_tolower;
  });
}

MarkedText Titled(Run& run, const MarkedText& text, std::string_view separators) {
  return Mapped(run, text, [separators](auto before, auto) -> CaseMap {
    const bool begins =
        separators.empty()
            ? !IsCased(before)
            : before < 0 || (before < 0x80 && separators.find(static_cast<char>(before)) != kNone);
    return begins ? utf8proc_totitle : utf8proc_tolower;
  });
}

Items Characters(Run& run, const MarkedText& text) {
  Items items;
  const std::string_view bytes = text.bytes();
  for (size_t at = 0; at < bytes.size();) {
    run.Step();
    const size_t length = CharacterLength(bytes.substr(at));
    items.emplace_back(text.Slice(at, at + length));
    at += length;
  }
  return items;
}

int64_t CountCharacters(const MarkedText& text) {
  return std::count_if(text.bytes().begin(), text.bytes().end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

MarkedText Joined(Run& run, const Items& items, const MarkedText& separator) {
  MarkedText joined;
  for (size_t i = 0; i < items.size(); ++i) {
    const MarkedText text = items[i].Printed();
    run.Step();
    run.Touch(text.size() + separator.size());
    if (i > 0) joined.Append(separator);
    joined.Append(text);
  }
  return joined;
}

}  // namespace fmaserver::chat
