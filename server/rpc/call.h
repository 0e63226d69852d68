// One call, whatever its method: who makes it, what it may do, and what it took.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/access/access.h"
#include "server/engine/request.h"
#include "server/rpc/call_metadata.h"
#include "server/rpc/call_report.h"

namespace fmaserver::rpc {

/// What requests may ask for, within what the engine takes.
struct RequestLimits {
  int64_t prompt_tokens = 0;                                       ///< 0: what the model takes
  int32_t stop_strings = static_cast<int32_t>(engine::kMaxStops);  ///< 0..kMaxStops
  int32_t samples = engine::kMaxSamples;                           ///< 1..kMaxSamples
};

/// How many calls there are. A call lives until gRPC and the engine have both let go of it, which
/// for the engine is within one step of the call's end. Thread-safe.
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

/// What holds for every call; outlives all of them, which `live` tells.
struct CallPolicy {
  std::shared_ptr<const access::Access> access;  ///< not null
  std::shared_ptr<CallObserver> observer;        ///< not null
  RequestLimits limits = {};
  bool keep_prompts = false;  ///< report the text of prompts
  std::shared_ptr<LiveCalls> live = std::make_shared<LiveCalls>();
};

/// Made once at the start of a call, and held by whatever works for it. Its end, with the last
/// holder, gives the tenant's share back and reports the call. One thread at a time, but for
/// SetStatus.
class Call {
 public:
  Call(const CallPolicy& policy, std::string method, CallMetadata metadata);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// Why the call is refused before it is read: UNAUTHENTICATED, or RESOURCE_EXHAUSTED for what
  /// the tenant's limits do not allow.
  const absl::Status& admission() const { return admission_; }

  /// These two of admitted calls only.
  const std::string& tenant() const { return lease_->tenant().name(); }
  access::TenantLimits limits() const { return lease_->tenant().limits(); }

  /// The request will be run: INVALID_ARGUMENT for more than the limits allow.
  absl::Status Take(const engine::GenerateRequest& request);
  absl::Status Take(const engine::ScoreRequest& request);
  /// The same prompt as text; kept only if the policy says so.
  void KeepPrompt(const std::string& text);
  void AddGenerated(int64_t tokens);
  /// Times, and how much of the prompt was cached.
  void SetUsage(const engine::Usage& usage);

  /// How the call ended; without it, as cancelled.
  void SetStatus(const absl::Status& status) { report_.status = status; }

 private:
  absl::Status TakePrompt(const std::vector<int32_t>& tokens);

  const CallPolicy& policy_;
  const Clock::time_point start_;
  CallReport report_;
  absl::Status admission_;
  std::unique_ptr<access::CallLease> lease_;  // null: refused
};

/// The call that `context` belongs to; its id goes back to the client as "x-request-id".
std::shared_ptr<Call> BeginCall(const CallPolicy& policy, const char* method,
                                grpc::CallbackServerContext& context);

}  // namespace fmaserver::rpc
