// Sessions between the wire and the store.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "fma/v1/sessions.pb.h"
#include "server/sessions/session_types.h"

namespace fmaserver::rpc {

v1::Session ToWire(const sessions::SessionInfo& info);
absl::StatusOr<v1::Session> ToWire(const absl::StatusOr<sessions::SessionInfo>& info);
absl::StatusOr<v1::ListSessionsResponse> ToWire(const absl::StatusOr<sessions::SessionPage>& page);
absl::StatusOr<v1::ForkSessionResponse> ToWire(
    const absl::StatusOr<std::vector<sessions::SessionInfo>>& children);

sessions::SessionLifetime LifetimeOf(const v1::CreateSessionRequest& request);
sessions::SessionLifetime LifetimeOf(const v1::UpdateSessionRequest& request);

std::optional<int64_t> PageSizeOf(const v1::ListSessionsRequest& request);

/// A count of tokens; what is above any session stays above.
int64_t TokensOf(uint64_t tokens);

}  // namespace fmaserver::rpc
