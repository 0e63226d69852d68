// The percentiles of many measurements.
#pragma once

#include <cstddef>
#include <vector>

namespace fmaserver::bench {

/// All 0 without measurements. A percentile is the smallest value that at least that part of the
/// measurements does not exceed, so always one of them.
struct Latencies {
  size_t count = 0;
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p95 = 0;
  double p99 = 0;
  double max = 0;

  static Latencies Of(std::vector<double> seconds);
};

}  // namespace fmaserver::bench
