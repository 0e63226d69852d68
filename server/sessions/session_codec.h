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

/// The header of a session's record; contents.tail must not be null.
internal::RecordHeader SessionHeader(const SessionContents& contents, const SessionModel& model);

/// The payload of a session's record.
std::string SessionPayload(const Tail& tail);

/// The contents that an undamaged header describes, without a tail and without any part in memory.
/// INVALID_ARGUMENT when its numbers do not agree with each other;
/// FAILED_PRECONDITION for a state whose type the slots cannot take.
absl::StatusOr<SessionContents> ContentsFromHeader(const internal::RecordHeader& header,
                                                   const SessionModel& model);

/// The tail from the payload of the record that has this header; every token is in [0, vocab_size).
absl::StatusOr<std::shared_ptr<Tail>> TailFromPayload(const internal::RecordHeader& header,
                                                      std::string_view payload,
                                                      const SessionModel& model);

/// How many chunks an undamaged header lists: more than kMaxChunks for all numbers that are too
/// large. For those who must know before ContentsFromHeader makes a part of each.
int64_t CountChunks(const internal::SessionRecord& record);

/// The header of a part's record. Those of the chunks of one size are of one size too.
internal::RecordHeader PartHeader(const Part& part, const SessionModel& model);

/// INVALID_ARGUMENT unless `header` is the header of `part`.
absl::Status CheckPartHeader(const internal::RecordHeader& header, const Part& part,
                             const SessionModel& model);

}  // namespace fmaserver::sessions
