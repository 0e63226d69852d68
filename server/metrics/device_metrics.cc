#include "server/metrics/device_metrics.h"

#include <prometheus/metric_family.h>

#include <optional>
#include <utility>

namespace fmaserver::metrics {

std::vector<prometheus::MetricFamily> DeviceMetrics::Collect() const {
  const std::shared_ptr<const kernels::Backend> backend = backend_.lock();
  if (backend == nullptr) return {};
  std::vector<prometheus::MetricFamily> families;
  if (const auto memory = backend->MemoryInfo(); memory.has_value()) {
    prometheus::MetricFamily& family = families.emplace_back(
        prometheus::MetricFamily{"fma_device_memory_bytes",
                                 "Memory of the GPU, as all its users together take it.",
                                 prometheus::MetricType::Gauge,
                                 {}});
    for (const auto& [kind, bytes] : {std::pair("used", memory->used), {"total", memory->total}}) {
      prometheus::ClientMetric& metric = family.metric.emplace_back();
      metric.label = {{"model_name", model_name_}, {"kind", kind}};
      metric.gauge.value = static_cast<double>(bytes);
    }
  }
  if (const auto reads = backend->ReadsOfUnits(); reads.has_value()) {
    prometheus::MetricFamily& family = families.emplace_back(prometheus::MetricFamily{
        "fma_unit_reads_total",
        "Opened units that queries read, by whose memory they were read from.",
        prometheus::MetricType::Counter,
        {}});
    for (const auto& [from, count] :
         {std::pair("device", reads->from_device), {"host", reads->from_host}}) {
      prometheus::ClientMetric& metric = family.metric.emplace_back();
      metric.label = {{"model_name", model_name_}, {"from", from}};
      metric.counter.value = static_cast<double>(count);
    }
  }
  return families;
}

}  // namespace fmaserver::metrics
