#include "base/names.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver {

bool IsName(std::string_view text) {
  const auto is_name_char = [](char c) {
    return c == '_' || c == '-' || absl::ascii_isalnum(static_cast<unsigned char>(c));
  };
  return !text.empty() && text.size() <= kMaxNameChars && std::ranges::all_of(text, is_name_char);
}

absl::Status CheckIsName(std::string_view what, std::string_view text) {
  if (IsName(text)) return absl::OkStatus();
  return Refusal(what, text, Concat("1 to ", kMaxNameChars, " of A-Z a-z 0-9 _ and -"));
}

}  // namespace fmaserver
