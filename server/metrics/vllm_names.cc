#include "server/metrics/vllm_names.h"

#include <algorithm>
#include <string>

namespace fmaserver::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;

constexpr struct {
  const char* ours;
  const char* vllm;
} kNames[] = {
    {"fma_requests_running", "vllm:num_requests_running"},
    {"fma_requests_waiting", "vllm:num_requests_waiting"},
    {"fma_slots_utilization", "vllm:kv_cache_usage_perc"},
    {"fma_time_to_first_token_seconds", "vllm:time_to_first_token_seconds"},
    {"fma_inter_token_latency_seconds", "vllm:inter_token_latency_seconds"},
    {"fma_e2e_request_latency_seconds", "vllm:e2e_request_latency_seconds"},
};

/// A label that vLLM does not have.
constexpr char kContext[] = "context";

void AddTo(ClientMetric::Histogram& sum, const ClientMetric::Histogram& more) {
  sum.sample_count += more.sample_count;
  sum.sample_sum += more.sample_sum;
  // All series of a histogram have the same bounds.
  for (size_t i = 0; i < sum.bucket.size(); ++i) {
    sum.bucket[i].cumulative_count += more.bucket[i].cumulative_count;
  }
}

/// One series where several differ by their context alone.
std::vector<ClientMetric> WithoutContext(const std::vector<ClientMetric>& series) {
  std::vector<ClientMetric> joined;
  for (ClientMetric next : series) {
    std::erase_if(next.label, [](const auto& label) { return label.name == kContext; });
    const auto same = std::ranges::find(joined, next.label, &ClientMetric::label);
    if (same == joined.end()) {
      joined.push_back(std::move(next));
    } else {
      AddTo(same->histogram, next.histogram);
    }
  }
  return joined;
}

}  // namespace

void AddVllmNames(std::vector<MetricFamily>& families) {
  const auto own = static_cast<std::ptrdiff_t>(families.size());
  for (const auto& [ours, vllm] : kNames) {
    const auto end = families.begin() + own;
    const auto found = std::ranges::find(families.begin(), end, ours, &MetricFamily::name);
    if (found == end) continue;
    MetricFamily family{.name = vllm, .help = found->help, .type = found->type, .metric = {}};
    family.metric = WithoutContext(found->metric);
    families.push_back(std::move(family));
  }
}

}  // namespace fmaserver::metrics
