#include "kernels/cpu/top_units.h"

#include <algorithm>

namespace fmaserver::kernels::cpu {
namespace {

// A type of its own, so that the heap's functions have it inline: units are offered often.
struct Better {
  bool operator()(const TopUnits::Scored& a, const TopUnits::Scored& b) const {
    return a.score != b.score ? a.score > b.score : a.unit < b.unit;
  }
};

}  // namespace

void TopUnits::Insert(const Scored& offered) {
  if (!IsFull()) {
    best_.push_back(offered);
  } else {
    if (!Better()(offered, best_.front())) return;
    std::ranges::pop_heap(best_, Better());
    best_.back() = offered;
  }
  std::ranges::push_heap(best_, Better());
}

void TopUnits::Finish() { std::ranges::sort(best_, {}, &Scored::unit); }

}  // namespace fmaserver::kernels::cpu
