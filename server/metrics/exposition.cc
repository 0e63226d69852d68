#include "server/metrics/exposition.h"

#include <prometheus/text_serializer.h>

#include <iterator>
#include <utility>

namespace fmaserver::metrics {

void Exposition::Add(std::shared_ptr<const prometheus::Collectable> source) {
  const std::lock_guard lock(mutex_);
  sources_.push_back(std::move(source));
}

std::string Exposition::Render() const {
  std::vector<std::shared_ptr<const prometheus::Collectable>> sources;
  {
    const std::lock_guard lock(mutex_);
    sources = sources_;
  }
  std::vector<prometheus::MetricFamily> families;
  for (const auto& source : sources) {
    std::vector<prometheus::MetricFamily> collected = source->Collect();
    families.insert(families.end(), std::make_move_iterator(collected.begin()),
                    std::make_move_iterator(collected.end()));
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace fmaserver::metrics
