// What the device's memory holds. docs/metrics.md lists it.
#pragma once

#include <prometheus/collectable.h>

#include <string>
#include <vector>

#include "kernels/backend.h"

namespace fmaserver::metrics {

/// Asks the backend, which outlives every Collect(), at each scrape. Thread-safe. Empty for a
/// backend that computes in the host's memory, or a device that does not answer.
class DeviceMetrics final : public prometheus::Collectable {
 public:
  DeviceMetrics(std::string model_name, const kernels::Backend& backend)
      : model_name_(std::move(model_name)), backend_(backend) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::string model_name_;
  const kernels::Backend& backend_;
};

}  // namespace fmaserver::metrics
