// What every door serves: the models, who may call, and the threads for slow work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/models/model_registry.h"
#include "server/service/call.h"
#include "server/service/workers.h"

namespace fmaserver::service {

/// Thread-safe. Outlives the calls that it began: its destructor waits for them.
class Service {
 public:
  /// `models` outlives the service.
  Service(models::ModelRegistry& models, CallPolicy policy);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  models::ModelRegistry& models() { return models_; }
  const CallPolicy& policy() const { return policy_; }

  /// Threads for work that may wait for the session store's disk.
  Workers& disk() { return disk_; }

  std::shared_ptr<Call> Begin(const CallKind& kind, CallMetadata metadata);

  /// The model of this name, which is then the one that `call` means; the registry's errors.
  /// FAILED_PRECONDITION for a model that calls of this kind are not for.
  absl::StatusOr<models::ModelPtr> Find(const std::string& model, Call& call) const;

  /// Runs `task`, which parses and encodes a request of `bytes`: at once when that is quick, so
  /// that short texts never wait for long ones, else on a thread for reading. RESOURCE_EXHAUSTED
  /// when too many bytes already wait.
  absl::Status Read(size_t bytes, std::function<void()> task);

  /// Runs `submit`, which submits a request of so many tokens: at once, or on a thread for the disk
  /// where that may wait for one. RESOURCE_EXHAUSTED as Read.
  absl::Status Submit(const engine::Engine& engine, size_t tokens, std::function<void()> submit);

  /// What requests of up to `max_request_bytes` take, at most, while they wait to be read or for
  /// the disk, and while they are read.
  static int64_t BufferBytes(int64_t max_request_bytes);

  /// Returns when no call is left.
  void AwaitCalls() { policy_.live->AwaitNone(); }

 private:
  models::ModelRegistry& models_;
  const CallPolicy policy_;
  Workers readers_;
  Workers disk_;
};

}  // namespace fmaserver::service
