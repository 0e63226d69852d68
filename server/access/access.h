// Who a caller is: looks bearer tokens up in the token file.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/access/tenant.h"
#include "server/access/token_file.h"

namespace fmaserver::access {

/// Thread-safe.
class Access {
 public:
  /// Reads the token file; ForEverybody when `file` is empty. Errors are those of reading and of
  /// ParseTokenFile.
  static absl::StatusOr<std::unique_ptr<Access>> Open(const std::string& file);

  /// Everybody is the tenant "default", without limits.
  static std::unique_ptr<Access> ForEverybody();

  bool open() const { return file_.empty(); }

  /// Reads the file again. On an error everything stays as it was. Tenants keep their running calls
  /// and their debts.
  absl::Status Reload();

  /// The tenant of a call with this value of the metadata "authorization" ("Bearer TOKEN"; empty:
  /// none). UNAUTHENTICATED does not reveal whether a token is nearly right: every digest is
  /// compared, in constant time.
  absl::StatusOr<std::shared_ptr<Tenant>> Resolve(std::string_view authorization) const;

  /// The limits of the tenant of this name; none for a name that is not in the file.
  TenantLimits LimitsOf(const std::string& tenant) const;

 private:
  explicit Access(std::string file) : file_(std::move(file)) {}

  struct BearerToken {
    TokenDigest digest;
    std::shared_ptr<Tenant> tenant;
  };

  const std::string file_;
  mutable std::mutex mutex_;
  std::vector<BearerToken> tokens_;                         // guarded by mutex_
  std::map<std::string, std::shared_ptr<Tenant>> tenants_;  // guarded by mutex_
};

}  // namespace fmaserver::access
