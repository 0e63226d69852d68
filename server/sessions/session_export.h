// A session as a blob, read piece by piece.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/sessions/record.h"
#include "server/sessions/session_contents.h"
#include "server/sessions/session_reader.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// Made by SessionStore::Export. Used by one thread at a time. It holds the session as it was when
/// the export began, whatever happens to the session later; of the parts that are not in memory it
/// reads one at a time.
class SessionExport {
 public:
  /// `parts` are those of contents.points in their order; contents.tail is not null. `model`
  /// outlives the export.
  SessionExport(const SessionModel& model, const SessionContents& contents,
                std::vector<HeldPart> parts);

  /// The next bytes, at most `max_bytes` (1 or more); empty at the end. DATA_LOSS for a damaged
  /// file.
  absl::StatusOr<std::string> Next(size_t max_bytes);

 private:
  absl::Status OpenRecord();

  const SessionModel& model_;
  std::vector<HeldPart> parts_;
  size_t next_part_ = 0;

  // The record that is being given out.
  std::string session_payload_;
  engine::SnapshotPtr bytes_;
  SealedRecord record_;
  std::vector<std::string_view> pieces_;  // of record_, still to be given out; the last one is next
};

}  // namespace fmaserver::sessions
