#include "server/sessions/shelf/read_part.h"

#include <memory>

#include "server/sessions/session_codec.h"

namespace fmaserver::sessions {

absl::StatusOr<engine::SnapshotPtr> ReadPart(
    const Part& part, const SessionModel& model,
    absl::FunctionRef<absl::Status(AllocatePayload)> read) {
  std::shared_ptr<engine::Snapshot> bytes;
  const absl::Status status =
      read([&](const internal::RecordHeader& found) -> absl::StatusOr<std::span<std::byte>> {
        if (absl::Status checked = CheckPartHeader(found, part, model); !checked.ok()) {
          return checked;
        }
        bytes = std::make_shared<engine::Snapshot>(part.tokens, part.bytes, part.type);
        return bytes->mutable_bytes();
      });
  if (status.ok()) return bytes;
  if (absl::IsFailedPrecondition(status)) return absl::InvalidArgumentError(status.message());
  return status;
}

}  // namespace fmaserver::sessions
