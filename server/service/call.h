// One call of any method and any door: who makes it, what it may do, and what it used.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/access/access.h"
#include "server/engine/request.h"
#include "server/service/call_kind.h"
#include "server/service/call_metadata.h"
#include "server/service/call_report.h"
#include "server/service/call_trace.h"
#include "server/service/limits.h"

namespace fmaserver::service {

/// Counts the live calls. A call lives until its door, the workers and the engine have all released
/// it; the engine does within one step of the call's end. Thread-safe.
class LiveCalls {
 public:
  void Add();
  void Remove();
  void AwaitNone();

 private:
  std::mutex mutex_;
  std::condition_variable none_;
  int64_t count_ = 0;  // guarded by mutex_
};

/// The rules for all calls. It must outlive all of them; `live` counts them.
struct CallPolicy {
  std::shared_ptr<const access::Access> access;       ///< null: everybody may call, without limits
  std::shared_ptr<CallObserver> observer;             ///< null: nobody is told
  std::shared_ptr<const access::Access> admins = {};  ///< null: calls of administrators are refused
  double unload_seconds = 30;  ///< grace for the requests of a model that is unloaded
  RequestLimits limits = {};
  bool keep_prompts = false;  ///< report the text of prompts
  std::shared_ptr<LiveCalls> live = std::make_shared<LiveCalls>();
};

/// Made once at the start of a call, and held by everything that works for it. When the last holder
/// releases it, the tenant's share is given back and the call is reported. Used by one thread at a
/// time, except for SetStatus.
class Call {
 public:
  /// `policy.access` and `policy.observer` are not null. `kind` outlives the call.
  Call(const CallPolicy& policy, const CallKind& kind, CallMetadata metadata);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// Why the call is refused before it is read: UNAUTHENTICATED, PERMISSION_DENIED where there are
  /// no administrators, or RESOURCE_EXHAUSTED for what
  /// the tenant's limits do not allow.
  const absl::Status& admission() const { return admission_; }

  const std::string& request_id() const { return report_.request_id; }
  const CallKind& kind() const { return kind_; }

  /// Only for admitted calls.
  const std::string& tenant() const { return lease_->tenant().name(); }
  access::TenantLimits tenant_limits() const { return lease_->tenant().limits(); }
  void ChargePrompt(int64_t tokens);  ///< what the caller sent, as tokens
  int64_t prompt_tokens() const { return report_.usage.prompt_tokens; }  ///< charged so far
  void ChargeGenerated(int64_t tokens);

  const RequestLimits& limits() const { return policy_.limits; }

  /// The name of the model that the call means.
  void SetModel(const std::string& name) { report_.model = name; }

  /// Null: the call is not traced.
  CallTrace* trace() { return report_.trace.get(); }

  /// The text of the prompt; kept only if the policy says so.
  bool keeps_prompts() const { return policy_.keep_prompts; }
  void KeepPrompt(const std::string& text);
  /// Times, and how much of the prompt was cached.
  void SetUsage(const engine::Usage& usage);
  /// How the call ended; a call without it counts as cancelled.
  void SetStatus(const absl::Status& status) { report_.status = status; }

 private:
  absl::Status Admit(const CallKind& kind, const std::string& authorization);

  const CallPolicy& policy_;
  const CallKind& kind_;
  const Clock::time_point start_;
  CallReport report_;
  absl::Status admission_;
  std::unique_ptr<access::CallLease> lease_;  // null: refused
};

}  // namespace fmaserver::service
