#include "bench/load/latencies.h"

#include <algorithm>
#include <numeric>

namespace fmaserver::bench {

Latencies Latencies::Of(std::vector<double> seconds) {
  if (seconds.empty()) return {};
  std::sort(seconds.begin(), seconds.end());
  const size_t count = seconds.size();
  // Computed in whole numbers, because 0.95 * 20 is a little more than 19.
  const auto percentile = [&](size_t percent) { return seconds[(count * percent + 99) / 100 - 1]; };
  const double sum = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  return {.count = count,
          .mean = sum / static_cast<double>(count),
          .p50 = percentile(50),
          .p90 = percentile(90),
          .p95 = percentile(95),
          .p99 = percentile(99),
          .max = seconds.back()};
}

}  // namespace fmaserver::bench
