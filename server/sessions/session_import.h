// A session made of a blob that arrives piece by piece from a hostile sender.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/sessions/blob_parser.h"
#include "server/sessions/session_contents.h"
#include "server/sessions/session_table.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

struct StoreCore;

/// Made by SessionStore::Import. One thread at a time. Destroyed before Finish it leaves nothing.
class SessionImport {
 public:
  /// `empty` says the lifetime of the session.
  SessionImport(StoreCore& core, SessionName name, SessionContents empty);
  SessionImport(const SessionImport&) = delete;
  SessionImport& operator=(const SessionImport&) = delete;

  /// Takes the next bytes, of any number. INVALID_ARGUMENT says what is wrong with the blob and
  /// where; RESOURCE_EXHAUSTED when the session does not fit into the memory budget.
  absl::Status Write(std::string_view bytes) { return parser_.Write(bytes); }

  /// The blob is whole: makes the session.
  absl::StatusOr<SessionInfo> Finish();

 private:
  absl::Status Reserve(int64_t bytes);

  StoreCore& core_;
  const SessionName name_;
  const SessionContents empty_;
  std::optional<Reservation> reserved_;
  BlobParser parser_;
};

}  // namespace fmaserver::sessions
