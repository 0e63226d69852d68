// Sessions and states as records, and back.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/sessions/record.h"
#include "server/sessions/session_contents.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// The header of a session's record; contents.tail must be there.
internal::RecordHeader SessionHeader(const SessionContents& contents, const SessionModel& model);

/// Its payload.
std::string SessionPayload(const Tail& tail);

/// What a sound header says, all numbers checked against each other; tail is null, and so are the
/// snapshots of the points. INVALID_ARGUMENT.
absl::StatusOr<SessionContents> ContentsFromHeader(const internal::RecordHeader& header);

/// The tail of the payload that belongs to such a header; every token is in [0, vocab_size).
absl::StatusOr<std::shared_ptr<Tail>> TailFromPayload(const internal::RecordHeader& header,
                                                      std::string_view payload,
                                                      const SessionModel& model);

internal::RecordHeader StateHeader(const Point& point, const SessionModel& model);

/// Whether `header` is the state of `point` in the model's size. INVALID_ARGUMENT.
absl::Status CheckStateHeader(const internal::RecordHeader& header, const Point& point,
                              const SessionModel& model);

}  // namespace fmaserver::sessions
