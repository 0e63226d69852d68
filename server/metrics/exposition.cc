#include "server/metrics/exposition.h"

#include <prometheus/text_serializer.h>

#include <iterator>
#include <map>
#include <utility>

#include "server/metrics/vllm_names.h"

namespace fmaserver::metrics {
namespace {

using prometheus::MetricFamily;

/// Adds the series of `more` to `families`, which stay in the order in which they first came.
void Join(std::vector<MetricFamily> more, std::map<std::string, size_t>& places,
          std::vector<MetricFamily>& families) {
  for (MetricFamily& family : more) {
    const auto [place, is_new] = places.emplace(family.name, families.size());
    if (is_new) {
      families.push_back(std::move(family));
    } else {
      std::vector<prometheus::ClientMetric>& series = families[place->second].metric;
      series.insert(series.end(), std::make_move_iterator(family.metric.begin()),
                    std::make_move_iterator(family.metric.end()));
    }
  }
}

}  // namespace

void Exposition::Add(std::weak_ptr<const prometheus::Collectable> source) {
  const std::lock_guard lock(mutex_);
  std::erase_if(sources_, [](const auto& known) { return known.expired(); });
  sources_.push_back(std::move(source));
}

std::vector<std::shared_ptr<const prometheus::Collectable>> Exposition::Sources() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const prometheus::Collectable>> sources;
  for (const auto& source : sources_) {
    if (auto held = source.lock(); held != nullptr) sources.push_back(std::move(held));
  }
  return sources;
}

std::string Exposition::Render() const {
  std::map<std::string, size_t> places;  // of families, by name
  std::vector<MetricFamily> families;
  for (const auto& source : Sources()) Join(source->Collect(), places, families);
  if (vllm_names_) AddVllmNames(families);
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace fmaserver::metrics
