// Sessions and states as records, and back.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/sessions/record.h"
#include "server/sessions/session_contents.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// The header of a session's record; contents.tail must be there.
internal::RecordHeader SessionHeader(const SessionContents& contents, const SessionModel& model);

/// Its payload.
std::string SessionPayload(const Tail& tail);

/// What a sound header says, all numbers checked against each other; tail is null, and no part is
/// in memory. INVALID_ARGUMENT.
absl::StatusOr<SessionContents> ContentsFromHeader(const internal::RecordHeader& header,
                                                   const SessionModel& model);

/// The tail of the payload that belongs to such a header; every token is in [0, vocab_size).
absl::StatusOr<std::shared_ptr<Tail>> TailFromPayload(const internal::RecordHeader& header,
                                                      std::string_view payload,
                                                      const SessionModel& model);

/// The header of a part's record.
internal::RecordHeader PartHeader(const Part& part, const SessionModel& model);

/// Whether `header` is the one of `part`. INVALID_ARGUMENT.
absl::Status CheckPartHeader(const internal::RecordHeader& header, const Part& part);

}  // namespace fmaserver::sessions
