// One tenant's share of the server: what it has under way and what it used lately.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/access/token_file.h"

namespace fmaserver::access {

class Tenant;

/// A call of a tenant, from its admission to the destructor. Thread-safe.
class CallLease {
 public:
  explicit CallLease(std::shared_ptr<Tenant> tenant) : tenant_(std::move(tenant)) {}
  ~CallLease();
  CallLease(const CallLease&) = delete;
  CallLease& operator=(const CallLease&) = delete;

  const Tenant& tenant() const { return *tenant_; }

  /// The call read or generated `tokens` more.
  void Charge(int64_t tokens);

 private:
  const std::shared_ptr<Tenant> tenant_;
};

/// Thread-safe. Tokens are an allowance that fills up steadily, a minute's worth at most: what a
/// call takes beyond it is owed, and calls are refused until the debt is paid.
class Tenant : public std::enable_shared_from_this<Tenant> {
 public:
  Tenant(std::string name, const TenantLimits& limits);

  const std::string& name() const { return name_; }
  TenantLimits limits() const;
  /// What is under way and what is owed stay as they are; an allowance is cut to a lower limit.
  void SetLimits(const TenantLimits& limits);

  /// Admits a call, which `takes_tokens` or does not: one that does not is none of the allowance's
  /// business. RESOURCE_EXHAUSTED names the limit, and says when to try again as the engine does.
  absl::StatusOr<std::unique_ptr<CallLease>> Admit(Clock::time_point now, bool takes_tokens = true);

 private:
  friend class CallLease;

  void Refill(Clock::time_point now);  // needs mutex_
  void Charge(int64_t tokens);
  void Release();

  const std::string name_;
  mutable std::mutex mutex_;
  TenantLimits limits_;  // guarded by mutex_, as are all below
  int64_t running_ = 0;
  double allowance_ = 0;  // tokens
  std::optional<Clock::time_point> filled_;
};

}  // namespace fmaserver::access
