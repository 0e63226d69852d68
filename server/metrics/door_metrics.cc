#include "server/metrics/door_metrics.h"

#include <prometheus/metric_family.h>

#include <cstdint>

namespace fmaserver::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

ClientMetric Series(double value, std::vector<ClientMetric::Label> labels = {}) {
  ClientMetric series;
  series.label = std::move(labels);
  series.counter.value = value;
  series.gauge.value = value;
  return series;
}

MetricFamily RefusedConnections(const net::ConnectionCounts& counts) {
  const auto because = [](const char* reason, int64_t count) {
    return Series(static_cast<double>(count), {{"reason", reason}});
  };
  return {"fma_connections_refused_total",
          "Connections that were closed at once, by what there was too much of.",
          MetricType::Counter,
          {because("server", counts.refused_server), because("address", counts.refused_address),
           because("descriptors", counts.refused_descriptors)}};
}

MetricFamily CertificateEnds(const tls::Certificates& certificates) {
  const auto ends = [](const char* certificate, absl::Time end) {
    return Series(absl::ToDoubleSeconds(end - absl::UnixEpoch()), {{"certificate", certificate}});
  };
  MetricFamily family{"fma_tls_certificate_expiry_timestamp_seconds",
                      "When the first certificate in use ends, since the epoch.",
                      MetricType::Gauge,
                      {ends("server", certificates.chain_end)}};
  if (!certificates.client_ca.empty()) {
    family.metric.push_back(ends("client_ca", certificates.client_ca_end));
  }
  return family;
}

}  // namespace

std::vector<MetricFamily> DoorMetrics::Collect() const {
  const net::ConnectionCounts counts = connections_->Counts();
  std::vector<MetricFamily> families = {
      {"fma_connections",
       "Open connections of the ports of gRPC and of the OpenAI API.",
       MetricType::Gauge,
       {Series(static_cast<double>(counts.open))}},
      {"fma_connections_accepted_total",
       "Connections that were accepted.",
       MetricType::Counter,
       {Series(static_cast<double>(counts.accepted))}},
      RefusedConnections(counts)};
  if (certificates_ != nullptr) families.push_back(CertificateEnds(*certificates_->current()));
  return families;
}

}  // namespace fmaserver::metrics
