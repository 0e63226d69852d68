#include "server/metrics/device_metrics.h"

#include <prometheus/metric_family.h>

#include <optional>
#include <utility>

namespace fmaserver::metrics {

std::vector<prometheus::MetricFamily> DeviceMetrics::Collect() const {
  const std::shared_ptr<const kernels::Backend> backend = backend_.lock();
  if (backend == nullptr) return {};
  const std::optional<kernels::DeviceMemory> memory = backend->MemoryInfo();
  if (!memory) return {};
  prometheus::MetricFamily family{"fma_device_memory_bytes",
                                  "Memory of the GPU, as all its users together take it.",
                                  prometheus::MetricType::Gauge,
                                  {}};
  for (const auto& [kind, bytes] : {std::pair("used", memory->used), {"total", memory->total}}) {
    prometheus::ClientMetric& metric = family.metric.emplace_back();
    metric.label = {{"model_name", model_name_}, {"kind", kind}};
    metric.gauge.value = static_cast<double>(bytes);
  }
  return {family};
}

}  // namespace fmaserver::metrics
