// What a long prompt does to streams that are generating: the gaps between their tokens without and
// with it, and the cost of one of the slices in which the server reads it.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "bench/load/latencies.h"
#include "bench/load/requests.h"
#include "bench/load/servers.h"
#include "bench/load/stream.h"

namespace fmaserver::bench {

struct NeighbourPlan {
  int64_t prompt_tokens = 0;
  int streams = 1;
  double alone_seconds = 5;
};

struct NeighbourResult {
  int64_t slice_tokens = 0;
  double slice_seconds = 0;  ///< mean of the slices of a prompt that is read alone
  Latencies alone;           ///< gaps between the tokens of the streams
  Latencies loading;         ///< the same while the prompt is read
  double load_seconds = 0;
};

/// Reads such a prompt alone, at most 32,768 tokens of it, to measure the cost of a slice; starts
/// the streams; reads a whole prompt beside them. The servers should have nothing else to do. The
/// streams and the prompts have the servers in turn; where one reads prompts for the others, the
/// first token of the prompt's answer comes from another.
/// CANCELLED when `group` was; FAILED_PRECONDITION when a stream ended early; else the server's
/// error.
absl::StatusOr<NeighbourResult> RunNeighbour(const NeighbourPlan& plan, const RequestSource& source,
                                             Servers servers, CallGroup& group);

}  // namespace fmaserver::bench
