// The calls that change which models are served.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/models/model_registry.h"
#include "server/service/call.h"

namespace fmaserver::service {

/// What the registry does for an admitted call of an administrator. Both functions take as long as
/// loading and draining take. Errors are the registry's and those of models::MakeSource.
class AdminCalls {
 public:
  /// Views: both outlive this object.
  AdminCalls(models::ModelRegistry& models, const CallPolicy& policy)
      : models_(models), policy_(policy) {}

  /// `name` empty: after the folder.
  absl::StatusOr<models::ModelPtr> Load(const std::string& name, const std::string& folder);
  /// `grace_seconds`: 0 to kMaxGraceSeconds; absent: the policy's.
  absl::Status Unload(const std::string& name, std::optional<double> grace_seconds);

  static constexpr double kMaxGraceSeconds = 86400;

 private:
  models::ModelRegistry& models_;
  const CallPolicy& policy_;
};

}  // namespace fmaserver::service
