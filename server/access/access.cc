#include "server/access/access.h"

#include <openssl/crypto.h>

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "base/file.h"
#include "base/names.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::access {
namespace {

constexpr std::string_view kScheme = "Bearer ";

constexpr size_t kMaxFileBytes = size_t{1} << 20;

}  // namespace

std::unique_ptr<Access> Access::ForEverybody() {
  auto access = absl::WrapUnique(new Access(""));
  access->tenants_[kDefaultTenant] = std::make_shared<Tenant>(kDefaultTenant, TenantLimits{});
  return access;
}

absl::StatusOr<std::unique_ptr<Access>> Access::Open(const std::string& file) {
  if (file.empty()) return ForEverybody();
  auto access = absl::WrapUnique(new Access(file));
  if (absl::Status status = access->Reload(); !status.ok()) return status;
  return access;
}

absl::Status Access::Reload() {
  if (open()) return absl::OkStatus();
  const auto text = ReadWholeFile(file_, kMaxFileBytes);
  if (!text.ok()) return At("tokens", text.status());
  const auto entries = ParseTokenFile(*text, At("tokens", file_));
  if (!entries.ok()) return entries.status();
  const std::lock_guard lock(mutex_);
  std::map<std::string, std::shared_ptr<Tenant>> tenants;
  tokens_.clear();
  for (const TokenEntry& entry : *entries) {
    const auto known = tenants_.find(entry.tenant);
    std::shared_ptr<Tenant>& tenant = tenants[entry.tenant];
    if (tenant == nullptr) {
      tenant = known != tenants_.end() ? known->second
                                       : std::make_shared<Tenant>(entry.tenant, entry.limits);
      tenant->SetLimits(entry.limits);
    }
    tokens_.push_back({.digest = entry.digest, .tenant = tenant});
  }
  tenants_ = std::move(tenants);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Tenant>> Access::Resolve(std::string_view authorization) const {
  if (open()) return tenants_.at(kDefaultTenant);
  // The scheme's case does not matter (RFC 9110, 11.1).
  const bool bearer = authorization.size() > kScheme.size() &&
                      absl::StartsWithIgnoreCase(ToAbsl(authorization), ToAbsl(kScheme));
  if (!bearer) {
    return Refusal("authorization", Words{authorization.empty() ? "missing" : "no bearer token"},
                   "\"Bearer TOKEN\" in the call's metadata", absl::StatusCode::kUnauthenticated);
  }
  const TokenDigest digest = DigestOf(authorization.substr(kScheme.size()));
  std::shared_ptr<Tenant> tenant;
  const std::lock_guard lock(mutex_);
  for (const BearerToken& token : tokens_) {
    if (CRYPTO_memcmp(token.digest.data(), digest.data(), digest.size()) == 0) {
      tenant = token.tenant;
    }
  }
  if (tenant == nullptr) {
    return Refusal("authorization", Words{"an unknown token"}, "one that this server knows",
                   absl::StatusCode::kUnauthenticated);
  }
  return tenant;
}

TenantLimits Access::LimitsOf(const std::string& tenant) const {
  const std::lock_guard lock(mutex_);
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? TenantLimits() : found->second->limits();
}

}  // namespace fmaserver::access
