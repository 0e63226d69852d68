#include "kernels/cpu/top_units.h"

#include <algorithm>
#include <cmath>

namespace fmaserver::kernels::cpu {
namespace {

float Rank(float score) {
  return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
}

}  // namespace

void TopUnits::KeepBest() {
  const auto least = offers_.begin() + count_ - 1;
  std::nth_element(offers_.begin(), least, offers_.end(), [](const Offered& a, const Offered& b) {
    const float a_rank = Rank(a.score);
    const float b_rank = Rank(b.score);
    return a_rank != b_rank ? a_rank > b_rank : a.unit < b.unit;
  });
  bar_ = Rank(least->score);
  offers_.resize(static_cast<size_t>(count_));
}

void TopUnits::Finish() {
  if (std::ssize(offers_) > count_) KeepBest();
  std::ranges::sort(offers_, {}, &Offered::unit);
}

}  // namespace fmaserver::kernels::cpu
