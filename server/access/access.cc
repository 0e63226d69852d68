#include "server/access/access.h"

#include <openssl/crypto.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/names.h"
#include "base/text.h"

namespace fmaserver::access {
namespace {

constexpr std::string_view kScheme = "Bearer ";

absl::StatusOr<std::string> ReadTokenFile(const std::string& file) {
  constexpr std::streamsize kMaxBytes = 1 << 20;
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) {
    return absl::NotFoundError(absl::StrCat("tokens: \"", file, "\" is no file"));
  }
  std::ifstream stream(file, std::ios::binary);
  std::string text(kMaxBytes + 1, '\0');
  stream.read(text.data(), kMaxBytes + 1);
  if (stream.bad() || !stream.is_open()) {
    return absl::UnavailableError(absl::StrCat("tokens: cannot read \"", file, "\""));
  }
  if (stream.gcount() > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokens: \"", file, "\" is longer than the ", kMaxBytes, " bytes allowed"));
  }
  text.resize(static_cast<size_t>(stream.gcount()));
  return text;
}

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
  const auto text = ReadTokenFile(file_);
  if (!text.ok()) return text.status();
  const auto entries = ParseTokenFile(*text, absl::StrCat("tokens: \"", file_, "\""));
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
    return absl::UnauthenticatedError(
        "authorization: found no bearer token; allowed: \"Bearer TOKEN\" in the call's metadata");
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
    return absl::UnauthenticatedError("authorization: this server does not know the token");
  }
  return tenant;
}

}  // namespace fmaserver::access
