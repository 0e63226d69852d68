// The end of a request, however many samples it has.
#pragma once

#include <cstdint>

#include "server/engine/observer.h"

namespace fmaserver::engine {

/// Reports a request once: when its last sample ends, or when one fails, because that ends the
/// others. Shared by the samples; used on the engine's thread only.
class RequestEnd {
 public:
  /// `observer` outlives this object.
  RequestEnd(int32_t samples, EngineObserver& observer) : left_(samples), observer_(observer) {}

  /// One more sample is over. Generated tokens are added up; everything else is taken from the
  /// last.
  void Add(EndReport sample) {
    if (left_ == 0) return;
    generated_tokens_ += sample.usage.generated_tokens;
    left_ = sample.code == absl::StatusCode::kOk ? left_ - 1 : 0;
    if (left_ > 0) return;
    sample.usage.generated_tokens = generated_tokens_;
    observer_.OnEnd(sample);
  }

 private:
  int32_t left_;  // samples that are not over; 0: it was reported
  int64_t generated_tokens_ = 0;
  EngineObserver& observer_;
};

}  // namespace fmaserver::engine
