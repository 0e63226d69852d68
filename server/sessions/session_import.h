// A session made of a blob that arrives piece by piece from a hostile sender.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/sessions/blob_parser.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

class SessionStore;

/// Made by SessionStore::Import. One thread at a time. Destroyed before Finish it leaves nothing.
class SessionImport {
 public:
  ~SessionImport();
  SessionImport(const SessionImport&) = delete;
  SessionImport& operator=(const SessionImport&) = delete;

  /// Takes the next bytes, of any number. INVALID_ARGUMENT says what is wrong with the blob and
  /// where; RESOURCE_EXHAUSTED when the session does not fit into the memory budget.
  absl::Status Write(std::string_view bytes) { return parser_.Write(bytes); }

  /// The blob is whole: makes the session.
  absl::StatusOr<SessionInfo> Finish();

 private:
  friend class SessionStore;
  SessionImport(SessionStore& store, SessionName name, SessionContents empty);

  absl::Status Reserve(int64_t bytes);

  SessionStore& store_;
  const SessionName name_;
  const SessionContents empty_;  // for the lifetime
  int64_t reserved_bytes_ = 0;
  BlobParser parser_;
};

}  // namespace fmaserver::sessions
