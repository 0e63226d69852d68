#include "kernels/cpu/top_units.h"

#include <algorithm>

namespace fmaserver::kernels::cpu {

void TopUnits::KeepBest() {
  const auto least = offers_.begin() + count_ - 1;
  std::nth_element(offers_.begin(), least, offers_.end(), [](const Offered& a, const Offered& b) {
    return a.score != b.score ? a.score > b.score : a.unit < b.unit;
  });
  bar_ = least->score;
  offers_.resize(static_cast<size_t>(count_));
}

void TopUnits::Finish() {
  if (std::ssize(offers_) > count_) KeepBest();
  std::ranges::sort(offers_, {}, &Offered::unit);
}

}  // namespace fmaserver::kernels::cpu
