// What the engine reports about itself, for metrics and logs.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "server/engine/request.h"

namespace fmaserver::engine {

/// One step of the engine's loop.
struct StepReport {
  double seconds = 0;
  int32_t decode_rows = 0;    ///< sequences that got a token each
  int32_t prompt_tokens = 0;  ///< rows of prompts being read
};

/// How much an engine has to do. It is reported before each step and when nothing is left to do.
struct LoadReport {
  int32_t running = 0;            ///< sequences that hold a slot
  int32_t waiting = 0;            ///< sequences that wait for one
  int64_t prompt_tokens = 0;      ///< prompt tokens of both that are not read yet
  int64_t cache_bytes = 0;        ///< snapshots in the prefix cache
  bool draining = false;          ///< new requests are refused
  bool failed = false;            ///< the device failed during a step; later ones would fail too
  double seconds_since_step = 0;  ///< since the last step's end, or the engine's start
};

/// How one request ended, all its samples together.
struct EndReport {
  absl::StatusCode code = absl::StatusCode::kOk;  ///< kCancelled, kUnavailable, ... when it failed
  std::optional<FinishReason> reason;  ///< when code is kOk; absent: nothing is generated
  Usage usage;
  double end_to_end_seconds = 0;  ///< from arrival
};

/// Why a request was refused at once.
enum class Rejection : uint8_t { kInvalid, kQueueFull, kDraining, kSession, kArchiveFull };

/// Called on the engine's thread except where noted. Must return quickly and never block.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnStep(const StepReport& /*step*/) {}
  virtual void OnLoad(const LoadReport& /*load*/) {}
  /// The first token of a sequence was chosen, `seconds` after the request arrived.
  virtual void OnFirstToken(double /*seconds*/) {}
  /// A later token was chosen, `seconds` after the one before, at `position` tokens of context.
  virtual void OnNextToken(double /*seconds*/, int64_t /*position*/) {}
  /// A prompt was looked up in the prefix cache.
  virtual void OnCacheLookup(int64_t /*prompt_tokens*/, int64_t /*cached_tokens*/) {}
  virtual void OnEnd(const EndReport& /*end*/) {}
  /// A request was refused at once. Called on any thread.
  virtual void OnRejected(Rejection /*why*/) {}
};

}  // namespace fmaserver::engine
