// Names of sessions, checked and described, and what shelves say of a session that has changed.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// INVALID_ARGUMENT for a tenant or an id that is not a name (base/names.h).
absl::Status CheckName(const SessionName& name);

/// 'session "id"', for messages.
std::string Describe(const SessionName& name);

/// ABORTED: the session's record is not the one that the caller has seen.
absl::Status ChangedByAnother(const SessionName& name);

}  // namespace fmaserver::sessions
