// The metrics of calls, whatever their method. docs/metrics.md lists them.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/registry.h>

#include <memory>

#include "server/service/call_report.h"

namespace fmaserver::metrics {

/// Thread-safe.
class CallMetrics final : public service::CallObserver {
 public:
  CallMetrics();

  std::shared_ptr<const prometheus::Registry> registry() const { return registry_; }

  void OnCall(const service::CallReport& report) override;

 private:
  const std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Family<prometheus::Counter>& calls_;  // owned by the registry
};

}  // namespace fmaserver::metrics
