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
  if (IsFull()) {
    if (Better()(offered, best_.front())) ReplaceWorst(offered);
  } else {
    best_.push_back(offered);
    std::ranges::push_heap(best_, Better());
  }
}

/// In one way down the heap; std has no function for it.
void TopUnits::ReplaceWorst(const Scored& offered) {
  const size_t count = best_.size();
  size_t at = 0;
  for (size_t child = 1; child < count; child = 2 * at + 1) {
    if (child + 1 < count && Better()(best_[child], best_[child + 1])) ++child;
    if (!Better()(offered, best_[child])) break;
    best_[at] = best_[child];
    at = child;
  }
  best_[at] = offered;
}

void TopUnits::Finish() { std::ranges::sort(best_, {}, &Scored::unit); }

}  // namespace fmaserver::kernels::cpu
