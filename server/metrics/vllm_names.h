// Six of the metrics once more, under the names that vLLM gives them: dashboards, autoscalers and
// endpoint pickers made for vLLM then work unchanged.
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

namespace fmaserver::metrics {

/// Adds them behind `families`, which are whole: each name once.
void AddVllmNames(std::vector<prometheus::MetricFamily>& families);

}  // namespace fmaserver::metrics
