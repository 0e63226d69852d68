// Watches calls, and makes spans of those that are traced.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "server/service/call_report.h"
#include "server/tracing/exporter.h"
#include "server/tracing/spans.h"
#include "server/tracing/trace_counts.h"
#include "server/tracing/tracing_options.h"

namespace fmaserver::tracing {

/// Thread-safe.
class Tracer final : public service::CallObserver {
 public:
  /// Does not wait for the collector, which need not be there yet. The destructor sends what waits,
  /// within ExporterOptions::patience.
  explicit Tracer(const TracingPlan& plan, const ExporterOptions& options = {});

  std::shared_ptr<service::CallTrace> Trace(const service::CallMetadata& checked) override;
  void OnCall(const service::CallReport& report) override;

  /// May outlive the tracer.
  std::shared_ptr<const TraceCounts> counts() const { return counts_; }

 private:
  const Sampling sampling_;
  const DoorAddresses doors_;
  const std::shared_ptr<TraceCounts> counts_;
  Exporter exporter_;
};

}  // namespace fmaserver::tracing
