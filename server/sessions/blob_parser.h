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
#include "server/sessions/record.h"
#include "server/sessions/session_contents.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// Trusts nothing: what it allocates is bounded by what `reserve` allows before the first byte of
/// it, and every number is checked. The blob is a session's record and then the record of each of
/// its parts in their order.
class BlobParser {
 public:
  /// Asked once, with the bytes of the whole session.
  using Reserve = std::function<absl::Status(int64_t bytes)>;

  /// `model` outlives the parser.
  BlobParser(const SessionModel& model, Reserve reserve);

  /// The next bytes. INVALID_ARGUMENT says what is wrong, in which record; then it is over.
  absl::Status Write(std::string_view bytes);

  /// After the last byte: the session with all its parts, which have new ids. INVALID_ARGUMENT when
  /// something is missing.
  absl::StatusOr<SessionContents> Finish();

 private:
  absl::Status Advance(std::string_view& bytes);
  absl::Status BeginSession();
  absl::Status BeginPart();
  absl::Status EndRecord();
  bool complete() const;
  absl::Status Explain(const absl::Status& status) const;

  const SessionModel& model_;
  const Reserve reserve_;
  absl::Status status_;
  std::optional<RecordReader> reader_;
  SessionContents contents_;
  bool has_session_ = false;
  std::string session_payload_;
  std::vector<PartPtr> parts_;  // of contents_, in their order
  std::shared_ptr<engine::Snapshot> bytes_;
  size_t parts_read_ = 0;  // whole
};

}  // namespace fmaserver::sessions
