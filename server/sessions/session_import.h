// A session made of a blob that arrives piece by piece from a hostile sender.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/sessions/session_types.h"

namespace fmaserver {

/// Made by SessionStore::Import. One thread at a time. Destroyed before Finish it leaves nothing.
class SessionImport {
 public:
  virtual ~SessionImport() = default;

  /// Takes the next bytes, of any number. INVALID_ARGUMENT says what is wrong with the blob and
  /// where; RESOURCE_EXHAUSTED when its states do not fit into the memory budget.
  virtual absl::Status Write(std::string_view bytes) = 0;

  /// The blob is whole: makes the session.
  virtual absl::StatusOr<SessionInfo> Finish() = 0;
};

}  // namespace fmaserver
