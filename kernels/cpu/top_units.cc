#include "kernels/cpu/top_units.h"

#include <algorithm>

namespace fmaserver::kernels::cpu {
namespace {

bool IsBetter(const TopUnits::Scored& a, const TopUnits::Scored& b) {
  return a.score != b.score ? a.score > b.score : a.unit < b.unit;
}

}  // namespace

void TopUnits::Insert(const Scored& offered) {
  if (!IsFull()) {
    best_.push_back(offered);
  } else {
    if (!IsBetter(offered, best_.front())) return;
    std::ranges::pop_heap(best_, IsBetter);
    best_.back() = offered;
  }
  std::ranges::push_heap(best_, IsBetter);
}

void TopUnits::Finish() { std::ranges::sort(best_, {}, &Scored::unit); }

}  // namespace fmaserver::kernels::cpu
