#include "server/access/accesses.h"

#include <utility>

namespace fmaserver::access {

absl::StatusOr<Accesses> Accesses::Open(const std::string& token_file,
                                        const std::string& admin_token_file) {
  auto tenants = Access::Open(token_file);
  if (!tenants.ok()) return tenants.status();
  Accesses accesses{.tenants = *std::move(tenants), .admins = nullptr};
  if (admin_token_file.empty()) return accesses;
  auto admins = Access::Open(admin_token_file);
  if (!admins.ok()) return admins.status();
  accesses.admins = *std::move(admins);
  return accesses;
}

absl::Status Accesses::Reload() const {
  absl::Status status = tenants->Reload();
  if (admins != nullptr) status.Update(admins->Reload());
  return status;
}

}  // namespace fmaserver::access
