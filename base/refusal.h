// The one grammar of refusals: "WHAT is FOUND; allowed: ALLOWED".
#pragma once

#include <string>
#include <string_view>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "base/text.h"

namespace fmaserver {

/// Our own words in place of a value: Words{"missing"}, Words{"a folder"}.
struct Words {
  std::string text;
};

/// A value as a refusal shows it: numbers as they are, and text in quotes, escaped and cut, because
/// it came from somebody else.
template <typename T>
std::string Shown(const T& value) {
  if constexpr (std::is_same_v<T, Words>) {
    return value.text;
  } else if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_arithmetic_v<T>) {
    return Concat(value);
  } else {
    return Quoted(value);
  }
}

/// `what` with its place before it: "config.json: rank".
inline std::string At(std::string_view place, std::string_view what) {
  return Concat(place, ": ", what);
}

/// The failure `status` with its place before the message; payloads stay.
inline absl::Status At(std::string_view place, const absl::Status& status) {
  absl::Status placed(status.code(), Concat(place, ": ", std::string(status.message())));
  status.ForEachPayload([&placed](absl::string_view type, const absl::Cord& payload) {
    placed.SetPayload(type, payload);
  });
  return placed;
}

/// A range of whole numbers, both ends included: "1 to 64".
template <typename T>
std::string FromTo(T least, T most) {
  return Concat(least, " to ", most);
}

/// "`what` is `found`; allowed: `allowed`". `what` names a field, an option, or a part of a file
/// with its place (At).
template <typename T>
absl::Status Refusal(std::string_view what, const T& found, std::string_view allowed,
                     absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
  return {code, Concat(what, " is ", Shown(found), "; allowed: ", allowed)};
}

}  // namespace fmaserver
