// An exported session, taken apart as it arrives.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/id.h"
#include "server/sessions/record.h"
#include "server/sessions/session_contents.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// Trusts nothing: it asks `reserve`, and the model's archives for room, before it allocates
/// anything for the session, and checks every number. A blob is a session's record, followed by the
/// records of its parts in their order.
class BlobParser {
 public:
  /// Called once, with the size of the whole session without its archive.
  using Reserve = std::function<absl::Status(int64_t bytes)>;

  /// `model` outlives the parser. The archive will count as the tenant's.
  BlobParser(const SessionModel& model, std::string tenant, Reserve reserve);

  /// Takes the next bytes. INVALID_ARGUMENT says what is wrong and in which record; the parser is
  /// of no use after that.
  absl::Status Write(std::string_view bytes);

  /// Called after the last byte: the session with all its parts, which have new ids.
  /// INVALID_ARGUMENT when something is missing.
  absl::StatusOr<SessionContents> Finish();

 private:
  absl::Status Advance(std::string_view& bytes);
  absl::Status BeginSession();
  absl::Status MakeRoom(const internal::SessionRecord& record);
  absl::Status BeginPart();
  absl::Status EndRecord();
  absl::Status EndPart();
  bool complete() const;
  absl::Status Explain(const absl::Status& status) const;

  const SessionModel& model_;
  const std::string tenant_;
  const std::string volume_ = RandomId();  // of the chunks
  const Reserve reserve_;
  absl::Status status_;
  std::optional<RecordReader> reader_;
  SessionContents contents_;
  bool has_session_ = false;
  std::string session_payload_;
  std::vector<PartPtr> parts_;                 // of contents_, in their order
  std::unique_ptr<engine::ArchiveRoom> room_;  // for those of them that are chunks
  std::shared_ptr<engine::Snapshot> bytes_;
  size_t parts_read_ = 0;  // parts that are complete
};

}  // namespace fmaserver::sessions
