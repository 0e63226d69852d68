#include "server/metrics/call_metrics.h"

#include "absl/status/status.h"

namespace fmaserver::metrics {

CallMetrics::CallMetrics()
    : registry_(std::make_shared<prometheus::Registry>()),
      calls_(prometheus::BuildCounter()
                 .Name("fma_calls_total")
                 .Help("Calls that ended, by method and status code.")
                 .Register(*registry_)) {
  for (const char* code : {"OK", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED"}) {
    calls_.Add({{"method", "Generate"}, {"code", code}});
  }
}

void CallMetrics::OnCall(const service::CallReport& report) {
  calls_.Add({{"method", report.method}, {"code", absl::StatusCodeToString(report.status.code())}})
      .Increment();
}

}  // namespace fmaserver::metrics
