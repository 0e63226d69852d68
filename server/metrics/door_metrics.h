// The connections and certificates of a door.
#pragma once

#include <prometheus/collectable.h>

#include <memory>
#include <utility>
#include <vector>

#include "server/net/connection_table.h"
#include "server/tls/certificate_watch.h"

namespace fmaserver::metrics {

/// Read when scraped. Thread-safe.
class DoorMetrics final : public prometheus::Collectable {
 public:
  /// `certificates` may be null: there are none.
  DoorMetrics(std::shared_ptr<net::ConnectionTable> connections,
              std::shared_ptr<const tls::CertificateWatch> certificates)
      : connections_(std::move(connections)), certificates_(std::move(certificates)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<net::ConnectionTable> connections_;
  const std::shared_ptr<const tls::CertificateWatch> certificates_;
};

}  // namespace fmaserver::metrics
