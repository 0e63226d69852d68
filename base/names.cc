#include "base/names.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace fmaserver {

bool IsName(std::string_view text) {
  const auto is_name_char = [](char c) {
    return c == '_' || c == '-' || absl::ascii_isalnum(static_cast<unsigned char>(c));
  };
  return !text.empty() && text.size() <= kMaxNameChars && std::ranges::all_of(text, is_name_char);
}

}  // namespace fmaserver
