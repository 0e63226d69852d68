#include "model_loader/control_places.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace fmaserver::model {

ControlPlaces::ControlPlaces(ControlTokens everywhere) {
  if (everywhere == ControlTokens::kAreFound) {
    parts_.push_back({0, std::numeric_limits<size_t>::max()});
  }
}

ControlPlaces::ControlPlaces(std::vector<ByteRange> parts) : parts_(std::move(parts)) {}

ControlPlaces::Where ControlPlaces::Of(size_t begin, size_t end) const {
  // The first part that ends behind `begin`.
  const auto part =
      std::upper_bound(parts_.begin(), parts_.end(), begin,
                       [](size_t place, const ByteRange& range) { return place < range.end; });
  if (part == parts_.end() || part->begin >= end) return Where::kOutside;
  return part->begin <= begin && end <= part->end ? Where::kInside : Where::kAcross;
}

}  // namespace fmaserver::model
