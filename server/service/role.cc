#include "server/service/role.h"

#include <algorithm>
#include <array>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::service {
namespace {

// In the order of Role.
constexpr std::array<const char*, 3> kNames = {"any", "prefill", "decode"};

absl::Status CheckAtMost(const Share& share, const char* what, int64_t found, const char* instead) {
  if (found <= share.tokens) return absl::OkStatus();
  return Refusal(what, found,
                 Concat("up to ", share.tokens, " on this server, whose role is ",
                        NameOf(share.role), "; ", instead),
                 absl::StatusCode::kFailedPrecondition);
}

}  // namespace

const char* NameOf(Role role) { return kNames.at(static_cast<size_t>(role)); }

Role RoleOf(const std::string& name) {
  return static_cast<Role>(std::ranges::find(kNames, name) - kNames.begin());
}

absl::Status CheckShare(const Share& share, const Work& work) {
  switch (share.role) {
    case Role::kPrefill:
      return CheckAtMost(share, "number of tokens to generate", work.generate,
                         "read the prompt here, into a session with max_tokens 0, and generate on "
                         "a server for decode");
    case Role::kDecode:
      return CheckAtMost(share, "number of tokens to read", work.read,
                         "read them on a server for prefill, into a session with max_tokens 0");
    case Role::kAny:
      break;
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::service
