// Making sessions: what a new one holds, and whether there may be one more.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/sessions/claim.h"
#include "server/sessions/session_contents.h"
#include "server/sessions/session_types.h"
#include "server/sessions/store_core.h"

namespace fmaserver::sessions {

/// INVALID_ARGUMENT for numbers out of range.
absl::Status CheckLifetime(const SessionLifetime& lifetime);

/// RESOURCE_EXHAUSTED when `more` sessions would be too many, or need more memory than there is.
absl::Status CheckCapacity(StoreCore& core, int64_t more);

/// The contents of a session without tokens.
SessionContents EmptyContents(const SessionLifetime& lifetime, const SessionOptions& options);

/// Makes a session of these contents, whose tail and states must be in memory. ALREADY_EXISTS when
/// there is one of this name.
absl::StatusOr<SessionInfo> MakeSession(StoreCore& core, const SessionName& name,
                                        SessionContents contents);

}  // namespace fmaserver::sessions
