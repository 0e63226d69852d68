// Chooses the shelf that the options ask for.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "server/sessions/session_types.h"
#include "server/sessions/state_shelf.h"

namespace fmaserver::sessions {

/// A shelf for sessions of `model`, or null where sessions live in memory only. The observer
/// outlives the shelf.
absl::StatusOr<std::unique_ptr<StateShelf>> OpenShelf(const SessionOptions& options,
                                                      const SessionModel& model,
                                                      SessionObserver& observer);

}  // namespace fmaserver::sessions
