#include "server/access/tenant.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/refusal.h"
#include "base/retry.h"
#include "base/text.h"

namespace fmaserver::access {
namespace {

template <typename T>
absl::Status Exhausted(const std::string& tenant, std::string_view what, const T& found,
                       std::string_view allowed, double retry_seconds) {
  absl::Status status = Refusal(At(Concat("tenant ", Quoted(tenant)), what), found, allowed,
                                absl::StatusCode::kResourceExhausted);
  status.SetPayload(kRetryAfterSeconds, absl::Cord(absl::StrCat(retry_seconds)));
  return status;
}

}  // namespace

CallLease::~CallLease() { tenant_->Release(); }

void CallLease::Charge(int64_t tokens) { tenant_->Charge(tokens); }

Tenant::Tenant(std::string name, const TenantLimits& limits)
    : name_(std::move(name)),
      limits_(limits),
      allowance_(static_cast<double>(limits.tokens_per_minute)) {}

TenantLimits Tenant::limits() const {
  const std::lock_guard lock(mutex_);
  return limits_;
}

void Tenant::SetLimits(const TenantLimits& limits) {
  const std::lock_guard lock(mutex_);
  const auto full = static_cast<double>(limits.tokens_per_minute);
  allowance_ = limits_.tokens_per_minute == 0 ? full : std::min(allowance_, full);
  limits_ = limits;
}

absl::StatusOr<std::unique_ptr<CallLease>> Tenant::Admit(Clock::time_point now, bool takes_tokens) {
  const std::lock_guard lock(mutex_);
  if (limits_.concurrent > 0 && running_ >= limits_.concurrent) {
    constexpr double kRetrySeconds = 1;
    return Exhausted(name_, "number of calls at once", running_ + 1,
                     Concat("up to ", limits_.concurrent), kRetrySeconds);
  }
  Refill(now);
  if (takes_tokens && limits_.tokens_per_minute > 0 && allowance_ <= 0) {
    const double per_second = static_cast<double>(limits_.tokens_per_minute) / 60;
    return Exhausted(name_, "allowance", Words{"used up"},
                     Concat(limits_.tokens_per_minute, " tokens per minute"),
                     (1 - allowance_) / per_second);
  }
  ++running_;
  return std::make_unique<CallLease>(shared_from_this());
}

void Tenant::Refill(Clock::time_point now) {
  const auto full = static_cast<double>(limits_.tokens_per_minute);
  if (filled_) {
    const double seconds = std::chrono::duration<double>(now - *filled_).count();
    allowance_ = std::min(full, allowance_ + full / 60 * std::max(0.0, seconds));
  }
  filled_ = std::max(now, filled_.value_or(now));  // calls may come out of order
}

void Tenant::Charge(int64_t tokens) {
  const std::lock_guard lock(mutex_);
  if (limits_.tokens_per_minute > 0) allowance_ -= static_cast<double>(tokens);
}

void Tenant::Release() {
  const std::lock_guard lock(mutex_);
  --running_;
}

}  // namespace fmaserver::access
