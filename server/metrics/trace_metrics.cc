#include "server/metrics/trace_metrics.h"

#include <prometheus/metric_family.h>

#include <cstdint>

namespace fmaserver::metrics {

std::vector<prometheus::MetricFamily> TraceMetrics::Collect() const {
  const auto series = [](int64_t count, std::vector<prometheus::ClientMetric::Label> labels) {
    prometheus::ClientMetric metric;
    metric.label = std::move(labels);
    metric.counter.value = static_cast<double>(count);
    return metric;
  };
  return {{"fma_trace_spans_exported_total",
           "Spans of traces that the collector has.",
           prometheus::MetricType::Counter,
           {series(counts_->exported, {})}},
          {"fma_trace_spans_dropped_total",
           "Spans of traces that nobody has, by why.",
           prometheus::MetricType::Counter,
           {series(counts_->queue_full, {{"reason", "queue_full"}}),
            series(counts_->refused, {{"reason", "refused"}}),
            series(counts_->unreachable, {{"reason", "unreachable"}})}}};
}

}  // namespace fmaserver::metrics
