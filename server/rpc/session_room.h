// A tenant's limit of sessions.
#pragma once

#include "absl/status/status.h"
#include "server/rpc/call.h"
#include "server/sessions/session_store.h"

namespace fmaserver::rpc {

/// RESOURCE_EXHAUSTED when `more` new sessions would exceed the limit of the call's tenant. Calls
/// that run side by side may each see room for the same session, so that a tenant can be over its
/// limit by as many calls as it may have under way.
absl::Status CheckRoom(sessions::SessionStore& sessions, const Call& call, int64_t more);

}  // namespace fmaserver::rpc
