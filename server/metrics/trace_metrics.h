// What became of the spans of traces.
#pragma once

#include <prometheus/collectable.h>

#include <memory>
#include <utility>
#include <vector>

#include "server/tracing/trace_counts.h"

namespace fmaserver::metrics {

/// Read when scraped. Thread-safe.
class TraceMetrics final : public prometheus::Collectable {
 public:
  explicit TraceMetrics(std::shared_ptr<const tracing::TraceCounts> counts)
      : counts_(std::move(counts)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<const tracing::TraceCounts> counts_;
};

}  // namespace fmaserver::metrics
