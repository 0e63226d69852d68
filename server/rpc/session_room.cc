#include "server/rpc/session_room.h"

#include "absl/strings/str_cat.h"

namespace fmaserver::rpc {

absl::Status CheckRoom(sessions::SessionStore& sessions, const Call& call, int64_t more) {
  const int64_t limit = call.limits().sessions;
  if (limit == 0) return absl::OkStatus();
  const auto page = sessions.List(call.tenant(), /*from=*/"", limit);
  if (!page.ok()) return page.status();
  const auto used = static_cast<int64_t>(page->sessions.size());
  if (page->next.empty() && more <= limit - used) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("tenant \"", call.tenant(), "\" has ", used,
                                                   " sessions and wants ", more,
                                                   " more; allowed: ", limit));
}

}  // namespace fmaserver::rpc
