// A call that is traced: its place in the caller's trace, and what its spans say beyond its report.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/engine/request.h"
#include "server/service/call_metadata.h"

namespace fmaserver::service {

/// What a call did that the engine knows nothing of.
struct TracedPart {
  const char* name;
  Clock::time_point begin;
  Clock::time_point end;
  absl::StatusCode code;
  const char* place;  ///< where a session's state was or is kept: kInMemory, kInStore
};

inline constexpr char kRestorePart[] = "restore";  ///< a turn begins with the session's state
inline constexpr char kSavePart[] = "save";        ///< the session takes the turn
inline constexpr char kInMemory[] = "memory";
inline constexpr char kInStore[] = "store";

/// Of the request to generate, as the engine got it.
struct TracedRequest {
  int32_t n = 1;
  int64_t max_tokens = 0;
  float temperature = 0;
  int32_t top_k = 0;
  float top_p = 0;
  float frequency_penalty = 0;
  float presence_penalty = 0;
  std::optional<uint64_t> seed = {};
  std::vector<std::string> stop = {};
};

TracedRequest ToTrace(const engine::GenerateRequest& request);

/// Used as Call is.
struct CallTrace {
  std::string trace_id;          ///< 16 bytes
  std::string span_id;           ///< 8 bytes: the call's own
  std::string parent_span_id;    ///< 8 bytes: the caller's; empty: the trace begins here
  std::string tracestate;        ///< as it came
  Protocol protocol{};           ///< of the caller
  Clock::time_point start = {};  ///< when the call arrived; Call sets it
  std::string session = {};      ///< the id of its session; empty: it has none
  std::vector<TracedPart> parts = {};
  std::optional<TracedRequest> request = {};
  std::vector<engine::FinishReason> finish_reasons = {};  ///< of samples that are over
};

/// Takes the time of a part. Without a trace it does nothing, and reads no clock.
class PartWatch {
 public:
  /// `trace` may be null, and outlives the watch.
  explicit PartWatch(CallTrace* trace)
      : trace_(trace), begin_(trace == nullptr ? Clock::time_point() : Clock::now()) {}

  /// The part is over.
  void End(const char* name, absl::StatusCode code, const char* place) const {
    if (trace_ != nullptr) trace_->parts.push_back({name, begin_, Clock::now(), code, place});
  }

 private:
  CallTrace* const trace_;
  const Clock::time_point begin_;
};

}  // namespace fmaserver::service
