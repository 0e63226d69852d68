// The metrics of the device's memory, and of the copies of units in it. docs/metrics.md lists them.
#pragma once

#include <prometheus/collectable.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"

namespace fmaserver::metrics {

/// Asks the backend at each scrape, as long as it lives. Thread-safe. Empty for a backend that
/// computes in the host's memory, and for a device that does not answer.
class DeviceMetrics final : public prometheus::Collectable {
 public:
  DeviceMetrics(std::string model_name, std::weak_ptr<const kernels::Backend> backend)
      : model_name_(std::move(model_name)), backend_(std::move(backend)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::string model_name_;
  const std::weak_ptr<const kernels::Backend> backend_;
};

}  // namespace fmaserver::metrics
