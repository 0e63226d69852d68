#include "model_loader/tokenizer_json/characters.h"

#include "model_loader/segmentation/boundaries.h"
#include "utf8proc.h"

namespace fmaserver::model {
namespace {

/// A character and where it ends; of length 0 when there is none.
struct Character {
  utf8proc_int32_t code = -1;
  size_t length = 0;
};

Character First(std::string_view text) {
  Character first;
  const auto* const start = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  if (text.empty()) return first;
  const auto size = static_cast<utf8proc_ssize_t>(text.size());
  first.length = utf8proc_iterate(start, size, &first.code) > 0 ? 1 : 0;
  while (first.length > 0 && first.length < text.size() && !BeginsCharacter(text[first.length])) {
    ++first.length;
  }
  return first;
}

Character Last(std::string_view text) {
  size_t begin = text.size();
  while (begin > 0 && !BeginsCharacter(text[--begin])) {
  }
  return First(text.substr(begin));
}

bool IsSpace(utf8proc_int32_t code) {
  if (code >= 0x09 && code <= 0x0D) return true;
  if (code == 0x85) return true;
  const utf8proc_category_t category = utf8proc_category(code);
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

bool IsInWord(utf8proc_int32_t code) {
  switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return code == 0x200C || code == 0x200D;  // these join and part letters
  }
}

}  // namespace

size_t SpaceAtStart(std::string_view text) {
  size_t size = 0;
  for (Character next = First(text); next.length > 0 && IsSpace(next.code);
       next = First(text.substr(size))) {
    size += next.length;
  }
  return size;
}

size_t SpaceAtEnd(std::string_view text) {
  size_t size = 0;
  for (Character last = Last(text); last.length > 0 && IsSpace(last.code);
       last = Last(text.substr(0, text.size() - size))) {
    size += last.length;
  }
  return size;
}

bool BeginsInWord(std::string_view text) {
  const Character first = First(text);
  return first.length > 0 && IsInWord(first.code);
}

bool EndsInWord(std::string_view text) {
  const Character last = Last(text);
  return last.length > 0 && IsInWord(last.code);
}

}  // namespace fmaserver::model
