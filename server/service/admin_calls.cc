#include "server/service/admin_calls.h"

#include "absl/time/time.h"
#include "base/refusal.h"

namespace fmaserver::service {

absl::StatusOr<models::ModelPtr> AdminCalls::Load(const std::string& name,
                                                  const std::string& folder) {
  const auto source = models::MakeSource(name, folder);
  if (!source.ok()) return source.status();
  return models_.Load(*source);
}

absl::Status AdminCalls::Unload(const std::string& name, std::optional<double> grace_seconds) {
  const double grace = grace_seconds.value_or(policy_.unload_seconds);
  if (!(grace >= 0 && grace <= kMaxGraceSeconds)) {
    return Refusal("grace_seconds", grace, "0 to 86400");
  }
  return models_.Unload(name, absl::Seconds(grace));
}

}  // namespace fmaserver::service
