// What became of the spans, for metrics.
#pragma once

#include <atomic>
#include <cstdint>

namespace fmaserver::tracing {

/// Only grows. Thread-safe.
struct TraceCounts {
  std::atomic<int64_t> exported = 0;  ///< the collector has them
  // Nobody has these:
  std::atomic<int64_t> queue_full = 0;   ///< more waited than there is room for
  std::atomic<int64_t> refused = 0;      ///< the collector did not take them, and never would
  std::atomic<int64_t> unreachable = 0;  ///< it was away for too long, or at the server's end
};

}  // namespace fmaserver::tracing
