// Records whose bytes are in memory, as a store returns them.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/sessions/record.h"

namespace fmaserver::sessions {

/// All bytes of a record, as a file has them.
std::string BytesOf(const SealedRecord& record);

/// The header of the record that `bytes` begin with. Errors as of RecordReader.
absl::StatusOr<internal::RecordHeader> ReadStoredHeader(std::string_view bytes,
                                                        const SessionModel& model);

/// Reads one record that has all the bytes. `allocate` checks the header and says where the payload
/// goes.
absl::Status ReadStoredRecord(std::string_view bytes, const SessionModel& model,
                              AllocatePayload allocate);

}  // namespace fmaserver::sessions
