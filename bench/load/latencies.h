// The percentiles of many measurements.
#pragma once

#include <cstddef>
#include <vector>

namespace fmaserver::bench {

/// All are 0 without measurements. A percentile is the smallest measurement that is not exceeded by
/// at least that part of the measurements.
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
