// One session as the table knows it.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "server/sessions/session_contents.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// The contents of a session, and how much of them the shelf has.
struct Holding {
  SessionContents contents = {};
  bool durable = false;               ///< the shelf holds exactly these contents
  Version version = {};               ///< of its record on the shelf
  std::vector<ShelfItem> saved = {};  ///< what lies on the shelf under the session's name
};

/// Guarded by the table's mutex. It lives from the first claim of its name for as long as the
/// session exists or is claimed.
struct Session {
  explicit Session(SessionName session_name) : name(std::move(session_name)) {}

  const SessionName name;
  bool exists = false;  ///< false: its name is only claimed, and it holds nothing
  Holding holding;

  // Claims (claim.h).
  int readers = 0;
  bool turn = false;
  bool changing = false;
  bool used = false;  ///< by one of the present claims
  Clock::time_point last_used;

  // Only SessionMemory uses these.
  uint64_t used_tick = 0;  ///< orders sessions by their last use
  bool parked = false;     ///< memory may be taken from it

  bool claimed() const { return readers > 0 || turn || changing; }
};

using SessionPtr = std::shared_ptr<Session>;

}  // namespace fmaserver::sessions
