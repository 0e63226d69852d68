// What fma-bench measured, for people and for programs.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "bench/load/latencies.h"
#include "bench/load/load.h"
#include "bench/load/neighbour.h"
#include "bench/load/options.h"
#include "bench/load/report_parts.h"
#include "fma/v1/generation.pb.h"

namespace fmaserver::bench {

struct BenchReport {
  int64_t succeeded = 0;
  int64_t failed = 0;
  int64_t interrupted = 0;  ///< cancelled by Ctrl-C, neither succeeded nor failed
  int64_t late = 0;
  double seconds = 0;
  uint64_t prompt_tokens = 0;     ///< of the requests that succeeded
  uint64_t generated_tokens = 0;  ///< of all

  // These are of the requests that succeeded.
  Latencies time_to_first_token;  ///< from when the request was due
  Latencies inter_token;          ///< each gap between two deltas
  Latencies time_per_token;       ///< after the first: a request's mean
  Latencies end_to_end;

  Failures failures;

  /// `interrupted` says that cancelled requests were cancelled by the user.
  static BenchReport Of(const LoadResult& result, bool interrupted);
};

/// {"server": ..., "options": ..., and what was measured}
nlohmann::json ToJson(const BenchReport& report, const LoadOptions& options,
                      const v1::Model& model);
nlohmann::json ToJson(const NeighbourResult& result, const LoadOptions& options,
                      const v1::Model& model);

/// A table for a terminal.
std::string ToText(const BenchReport& report, const LoadOptions& options, const v1::Model& model);
std::string ToText(const NeighbourResult& result, const LoadOptions& options,
                   const v1::Model& model);

}  // namespace fmaserver::bench
