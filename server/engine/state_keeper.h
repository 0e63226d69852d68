// Where a sequence's state comes from, and who gets copies of it while the sequence grows.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/archive.h"
#include "server/engine/observer.h"
#include "server/engine/prefix_cache.h"
#include "server/engine/request.h"
#include "server/engine/state_points.h"

namespace fmaserver::engine {

/// The keeper of one sample of a request. Prompts find each other's states in the prefix cache; the
/// states of a request with keep_state go to its sink instead.
class StateKeeper {
 public:
  /// Copies the sequence's state out of its slot, as it is now.
  using Save = absl::FunctionRef<absl::StatusOr<State>()>;

  /// `archived`: the sequence has an archive. `cache` may be null. All arguments outlive the
  /// keeper.
  StateKeeper(const GenerateRequest& request, bool archived, GenerateSink& sink, PrefixCache* cache,
              EngineObserver& observer);

  /// Called when the sequence is about to read its prompt: plans which states to keep, and returns
  /// the state to begin with, if any. Not called for a sample that forks from another.
  State Begin();

  /// How many tokens of the prompt the cache already had.
  int64_t cached() const { return cached_; }

  /// Why it had none.
  CacheMiss miss() const { return miss_; }

  /// Where a slice of the prompt that begins at `position` must end at the latest, because states
  /// can be kept, and samples fork, only between steps.
  int64_t NextPoint(int64_t position) const { return points_.After(position); }

  /// Whether the other samples begin at `position`.
  bool IsFork(int64_t position) const { return points_.IsFork(position); }

  /// Called with the sequence at `position`: hands its state to the cache or the sink if they want
  /// it.
  absl::Status Keep(int64_t position, Save save);

  /// Called when the whole prompt was read and `chosen` is the answer: keeps the state for prompts
  /// that repeat both, as the next turn of a chat does.
  void KeepAnswer(std::span<const int32_t> chosen, Save save);

 private:
  bool MayCache() const { return cache_ != nullptr && scope_.has_value(); }
  CacheMiss WhyNotAsked() const;
  State FindCached();

  const GenerateRequest& request_;
  const std::optional<std::string> scope_;
  GenerateSink& sink_;
  PrefixCache* const cache_;
  EngineObserver& observer_;
  StatePoints points_;
  int64_t cached_ = 0;
  CacheMiss miss_ = CacheMiss::kNone;
};

}  // namespace fmaserver::engine
