// What the process itself uses, and which build it is.
#pragma once

#include <prometheus/collectable.h>

#include <string>
#include <utility>
#include <vector>

namespace fmaserver::metrics {

/// The usual process_* metrics, read from /proc when scraped, fma_build_info and fma_role_info.
/// Thread-safe. Values that the system does not provide are left out.
class ProcessMetrics final : public prometheus::Collectable {
 public:
  /// `role`: which share of the work the server takes.
  explicit ProcessMetrics(std::string role) : role_(std::move(role)) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::string role_;
};

}  // namespace fmaserver::metrics
