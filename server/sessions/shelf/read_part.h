// A part's bytes out of its record, however a shelf reads records.
#pragma once

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/sessions/point.h"
#include "server/sessions/record.h"
#include "server/sessions/session_model.h"

namespace fmaserver::sessions {

/// `read` reads the part's record. Its errors are passed on, but FAILED_PRECONDITION, for another
/// model's record or one of a newer format, becomes INVALID_ARGUMENT, which is damage: a session of
/// this model lists the part.
absl::StatusOr<engine::SnapshotPtr> ReadPart(const Part& part, const SessionModel& model,
                                             absl::FunctionRef<absl::Status(AllocatePayload)> read);

}  // namespace fmaserver::sessions
