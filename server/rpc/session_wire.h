// Sessions between the wire and the store.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "fma/v1/sessions.pb.h"
#include "server/sessions/session_types.h"

namespace fmaserver::rpc {

v1::Session ToWire(const sessions::SessionInfo& info);

sessions::SessionLifetime LifetimeOf(const v1::CreateSessionRequest& request);
sessions::SessionLifetime LifetimeOf(const v1::UpdateSessionRequest& request);

/// The page size asked for, or the default. INVALID_ARGUMENT.
absl::StatusOr<int64_t> PageSizeOf(const v1::ListSessionsRequest& request);

/// A count of tokens; what is above any session stays above.
int64_t TokensOf(uint64_t tokens);

}  // namespace fmaserver::rpc
