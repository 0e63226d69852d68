// Names of sessions, tenants and models, which may become part of a file name, a label or a URL.
#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"

namespace fmaserver {

inline constexpr size_t kMaxNameChars = 64;

/// Whether `text` is 1 to kMaxNameChars characters of A-Z a-z 0-9 _ and -.
bool IsName(std::string_view text);

/// INVALID_ARGUMENT unless `text`, which messages call `what`, is a name.
absl::Status CheckIsName(std::string_view what, std::string_view text);

/// The tenant of callers that do not say who they are.
inline constexpr char kDefaultTenant[] = "default";

}  // namespace fmaserver
