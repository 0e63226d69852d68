// Reading JSON that somebody else wrote: bounded, without duplicate keys, without exceptions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace fmaserver {

/// Parses `text`, which must be one JSON object. Besides bad syntax it refuses a key that occurs
/// twice in one object, nesting deeper than 16, and more than 4 million values. INVALID_ARGUMENT
/// names `origin` and the place.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, std::string_view origin);

/// The value of an integer that fits into int64, or nothing. 8.0 is not an integer.
std::optional<int64_t> AsInteger(const nlohmann::json& value);

/// The value as a message shows it: printable ASCII, long values cut.
std::string Excerpt(const nlohmann::json& value);

}  // namespace fmaserver
