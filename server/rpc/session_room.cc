#include "server/rpc/session_room.h"

#include "absl/strings/str_cat.h"

namespace fmaserver::rpc {

absl::Status CheckRoom(sessions::SessionStore& sessions, const Call& call, int64_t more) {
  const int64_t limit = call.limits().sessions;
  if (limit == 0) return absl::OkStatus();
  if (more <= limit - sessions.CountOf(call.tenant())) return absl::OkStatus();
  sessions.Sweep(call.tenant());  // what has expired is in nobody's way
  const int64_t used = sessions.CountOf(call.tenant());
  if (more <= limit - used) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("tenant \"", call.tenant(), "\" has ", used,
                                                   " sessions and wants ", more,
                                                   " more; allowed: ", limit));
}

}  // namespace fmaserver::rpc
