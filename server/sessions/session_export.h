// A session as a blob, read piece by piece.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace fmaserver {

/// Made by SessionStore::Export. One thread at a time. Holds what the session was when it was made,
/// whatever happens to the session; at most one state that is not in memory is read at a time.
class SessionExport {
 public:
  virtual ~SessionExport() = default;

  /// The next bytes, at most `max_bytes` (1 or more); empty at the end. DATA_LOSS for a damaged
  /// file.
  virtual absl::StatusOr<std::string> Next(size_t max_bytes) = 0;
};

}  // namespace fmaserver
