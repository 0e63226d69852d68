// Who may call: tenants, and administrators when there are any.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/access/access.h"

namespace fmaserver::access {

struct Accesses {
  std::shared_ptr<Access> tenants;
  std::shared_ptr<Access> admins;  ///< null: none

  /// Errors of Access::Open; no file of administrators: there are none.
  static absl::StatusOr<Accesses> Open(const std::string& token_file,
                                       const std::string& admin_token_file);

  /// Reads both files again. What cannot be read stays as it was; the first error is returned.
  absl::Status Reload() const;
};

}  // namespace fmaserver::access
