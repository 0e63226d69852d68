// Names of sessions, tenants and models: what may become part of a file name, a label or a URL.
#pragma once

#include <cstddef>
#include <string_view>

namespace fmaserver {

inline constexpr size_t kMaxNameChars = 64;

/// 1 to kMaxNameChars of A-Z a-z 0-9 _ and -.
bool IsName(std::string_view text);

/// The tenant of callers that do not say who they are.
inline constexpr char kDefaultTenant[] = "default";

}  // namespace fmaserver
