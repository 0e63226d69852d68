// What the process itself uses, and which build it is.
#pragma once

#include <prometheus/collectable.h>

#include <vector>

namespace fmaserver::metrics {

/// The usual process_* metrics, read from /proc when scraped, and fma_build_info. Thread-safe.
/// Values that the system does not provide are left out.
class ProcessMetrics final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace fmaserver::metrics
