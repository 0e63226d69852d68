// What runs the requests of one model on a thread of its own, whatever they ask for.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model_loader/model_config.h"
#include "model_loader/tokenizer.h"
#include "server/engine/observer.h"
#include "server/engine/request.h"

namespace fmaserver::engine {

/// Thread-safe. Engine runs those of decoders, EncoderEngine those of encoders.
class RequestRunner {
 public:
  virtual ~RequestRunner() = default;

  /// Asks, before a request has cost anything, whether it would be taken now: OK, or the refusal
  /// that Submit would give. A refusal is reported to the observer.
  virtual absl::Status CheckAdmission() = 0;

  /// Counts a request that was refused before it came to Submit.
  virtual void CountRejection(Rejection why) = 0;

  /// Whether the next request would be refused because too many run and wait.
  virtual bool IsFull() const = 0;

  /// Ends a request within one step: its sink gets OnError(CANCELLED) unless it had finished.
  virtual void Cancel(RequestId id) = 0;

  /// Says that a sink that had no room has room again.
  virtual void Wake() = 0;

  /// Refuses new work, waits up to `grace` for the running requests, then ends the rest. Returns
  /// when none is left.
  virtual void Drain(absl::Duration grace) = 0;

  /// What there is to do. Cheap; never waits for a step.
  virtual LoadReport Load() const = 0;

  /// Whether the device failed during a step; every later step would fail too.
  virtual bool DeviceFailed() const = 0;

  virtual const model::ModelConfig& config() const = 0;

  /// Null when the model is served by token ids.
  virtual const std::shared_ptr<const model::Tokenizer>& tokenizer() const = 0;
};

}  // namespace fmaserver::engine
