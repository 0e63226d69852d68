// Joining text for messages and names.
#pragma once

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace fmaserver {

/// Debian builds Abseil for C++14, where absl::string_view is not std::string_view.
constexpr absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

template <typename T>
constexpr const T& ToAbsl(const T& value) {
  return value;
}

/// absl::StrCat that also takes std::string_view.
template <typename... Parts>
std::string Concat(const Parts&... parts) {
  return absl::StrCat(ToAbsl(parts)...);
}

/// Text from outside as a message shows it: in quotes, escaped to printable ASCII, and cut after 80
/// bytes.
std::string Quoted(std::string_view text);

}  // namespace fmaserver
