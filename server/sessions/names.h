// Names of sessions, tenants and states: what may become part of a file name, and random ones.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/sessions/session_types.h"

namespace fmaserver {

inline constexpr size_t kRandomIdChars = 22;

/// kRandomIdChars of A-Z a-z 0-9 from the random bits of the operating system: over 120 bits.
std::string RandomId();

/// 1 to kMaxSessionNameChars of A-Z a-z 0-9 _ and -.
bool IsName(std::string_view text);

/// INVALID_ARGUMENT for a part that is no name.
absl::Status CheckName(const SessionName& name);

/// 'session "id"', for messages.
std::string Describe(const SessionName& name);

}  // namespace fmaserver
