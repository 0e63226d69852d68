#include "server/sessions/session_name.h"

#include <string_view>

#include "base/json.h"
#include "base/names.h"
#include "base/text.h"

namespace fmaserver::sessions {
namespace {

absl::Status CheckPart(std::string_view what, std::string_view text) {
  if (IsName(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat(what, ": found ", Quoted(text.substr(0, 80)),
                                           ", allowed: 1 to ", kMaxNameChars,
                                           " of A-Z a-z 0-9 _ and -"));
}

}  // namespace

absl::Status CheckName(const SessionName& name) {
  if (absl::Status status = CheckPart("tenant", name.tenant); !status.ok()) return status;
  return CheckPart("session_id", name.id);
}

std::string Describe(const SessionName& name) { return Concat("session ", Quoted(name.id)); }

}  // namespace fmaserver::sessions
