// A session as a blob, read piece by piece.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/sessions/record.h"
#include "server/sessions/session_contents.h"
#include "server/sessions/session_directory.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// Made by SessionStore::Export. One thread at a time. Holds what the session was when it was made,
/// whatever happens to the session; at most one state that is not in memory is read at a time.
class SessionExport {
 public:
  /// The next bytes, at most `max_bytes` (1 or more); empty at the end. DATA_LOSS for a damaged
  /// file.
  absl::StatusOr<std::string> Next(size_t max_bytes);

 private:
  friend class SessionStore;

  struct State {
    PointPtr point;
    engine::SnapshotPtr snapshot;       ///< or
    std::optional<OpenFile> file = {};  ///< where it is
  };

  SessionExport(const SessionModel& model, const SessionDirectory* directory,
                SessionContents contents, std::vector<State> states);

  absl::Status OpenRecord();

  const SessionModel& model_;
  const SessionDirectory* const directory_;
  const SessionContents contents_;
  std::vector<State> states_;
  size_t next_state_ = 0;

  // The record that is being read.
  std::string session_payload_;
  engine::SnapshotPtr snapshot_;
  SealedRecord record_;
  std::vector<std::string_view> parts_;  // of record_, that are still to be given
};

}  // namespace fmaserver::sessions
