// What a call's report says as spans of a trace. Names of attributes are those of OpenTelemetry's
// semantic conventions, or begin with "fma.".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "opentelemetry/traces.pb.h"
#include "server/service/call_report.h"
#include "server/tracing/attributes.h"

namespace fmaserver::tracing {

/// What the monotonic clock's times are on the calendar, as both were when this was made.
class Calendar {
 public:
  Calendar() : monotonic_(Clock::now()), calendar_(std::chrono::system_clock::now()) {}
  /// Nanoseconds since the epoch.
  uint64_t At(Clock::time_point time) const;

 private:
  const Clock::time_point monotonic_;
  const std::chrono::system_clock::time_point calendar_;
};

/// Where a door listens, as spans say it.
struct DoorAddress {
  std::string host = {};  ///< a name, an address, or a socket's path; empty: not known
  int port = 0;           ///< 0: none
};

struct DoorAddresses {
  DoorAddress grpc;
  DoorAddress http;
};

/// The span of a call that is traced and over, then those of its parts: queue, prefill and decode
/// as far as it came, and what it did with a session, in the order of their beginnings.
std::vector<otlp::Span> SpansOf(const service::CallReport& report, const DoorAddresses& doors,
                                const Calendar& calendar);

}  // namespace fmaserver::tracing
