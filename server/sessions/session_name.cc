#include "server/sessions/session_name.h"

#include "base/names.h"
#include "base/text.h"

namespace fmaserver::sessions {

absl::Status CheckName(const SessionName& name) {
  if (absl::Status status = CheckIsName("tenant", name.tenant); !status.ok()) return status;
  return CheckIsName("session_id", name.id);
}

std::string Describe(const SessionName& name) { return Concat("session ", Quoted(name.id)); }

absl::Status ChangedByAnother(const SessionName& name) {
  return absl::AbortedError(Concat(Describe(name), ": another server changed it meanwhile"));
}

}  // namespace fmaserver::sessions
