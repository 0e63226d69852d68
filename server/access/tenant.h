// One tenant's share of the server: its running calls and the tokens that it used lately.
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

/// A tenant's admitted call; the destructor ends it. Thread-safe.
class CallLease {
 public:
  explicit CallLease(std::shared_ptr<Tenant> tenant) : tenant_(std::move(tenant)) {}
  ~CallLease();
  CallLease(const CallLease&) = delete;
  CallLease& operator=(const CallLease&) = delete;

  const Tenant& tenant() const { return *tenant_; }

  /// The call has read or generated `tokens` more.
  void Charge(int64_t tokens);

 private:
  const std::shared_ptr<Tenant> tenant_;
};

/// Thread-safe. The allowance of tokens fills up steadily, up to a minute's worth. A call may take
/// more than there is, which becomes a debt, and calls are refused until the debt is paid.
class Tenant : public std::enable_shared_from_this<Tenant> {
 public:
  Tenant(std::string name, const TenantLimits& limits);

  const std::string& name() const { return name_; }
  TenantLimits limits() const;
  /// Running calls and debts stay as they are; an allowance above the new limit is cut to it.
  void SetLimits(const TenantLimits& limits);

  /// Admits a call. Only calls that take tokens (`takes_tokens`) depend on the allowance.
  /// RESOURCE_EXHAUSTED names the limit and carries kRetryAfterSeconds.
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
