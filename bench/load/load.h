// Sends requests in a closed or an open loop and keeps what came back.
#pragma once

#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <random>
#include <vector>

#include "bench/load/requests.h"
#include "bench/load/servers.h"
#include "bench/load/stream.h"

namespace fmaserver::bench {

struct LoadPlan {
  int concurrency = 1;                        ///< threads that send, so the most requests at once
  std::optional<double> rate = std::nullopt;  ///< open loop: arrivals per second
  int64_t requests = std::numeric_limits<int64_t>::max();
  double duration_seconds = std::numeric_limits<double>::infinity();
  int64_t first_number = 0;  ///< the first request's number (RequestSource)
  double timeout_seconds = 0;
  uint64_t seed = 1;  ///< of the arrival times
};

/// When each request is due. Thread-safe.
class Schedule {
 public:
  Schedule(const LoadPlan& plan, double begin);

  struct Arrival {
    int64_t number = 0;  ///< 0, 1, 2, ...
    double due = 0;
    /// In an open loop: every thread was busy at `due`, so the request is sent too late.
    bool late = false;
  };
  /// Nothing once the load is over. In a closed loop a request is due when this is called.
  std::optional<Arrival> Next();

 private:
  const std::optional<double> rate_;
  const int64_t requests_;
  const double end_;
  std::mutex mutex_;
  std::mt19937_64 random_;
  double last_arrival_;
  int64_t next_ = 0;
};

struct LoadResult {
  std::vector<StreamRecord> records;  ///< in the order in which they ended
  int64_t late = 0;
  double seconds = 0;  ///< from the start to the last end
};

/// Returns when every request has ended; the servers have them in turn. Cancelling `group` ends it
/// early; requests that were running then are in the records as CANCELLED.
LoadResult RunLoad(const LoadPlan& plan, const RequestSource& source, Servers servers,
                   CallGroup& group, LiveCounts& live);

}  // namespace fmaserver::bench
