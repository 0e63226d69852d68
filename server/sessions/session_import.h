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

/// Made by SessionStore::Import. Used by one thread at a time. If it is destroyed before Finish,
/// nothing is left of it.
class SessionImport {
 public:
  /// `empty` has the lifetime of the session.
  SessionImport(StoreCore& core, SessionName name, SessionContents empty);
  SessionImport(const SessionImport&) = delete;
  SessionImport& operator=(const SessionImport&) = delete;

  /// Takes the next bytes, any number of them. INVALID_ARGUMENT says what is wrong with the blob
  /// and where; RESOURCE_EXHAUSTED when the session does not fit into the memory budget.
  absl::Status Write(std::string_view bytes) { return parser_.Write(bytes); }

  /// Called when the blob is complete: makes the session.
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
