#include "kernels/cpu/selection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace fmaserver::kernels::cpu {
namespace {

using Places = std::vector<int32_t>::iterator;

/// Moves the places of the `count` largest to the front; of equals the earlier.
template <typename T>
void LargestFirst(std::span<const T> worth, Places begin, Places end, int64_t count) {
  if (count == 0) return;
  // A total order whatever the numbers are: a state that was saved and changed may hold NaN.
  const auto rank = [worth](int32_t place) {
    return std::isnan(worth[place]) ? -std::numeric_limits<T>::infinity() : worth[place];
  };
  std::nth_element(begin, begin + count, end, [&](int32_t a, int32_t b) {
    return rank(a) != rank(b) ? rank(a) > rank(b) : a < b;
  });
}

}  // namespace

void ChooseTokens(std::span<const double> received, std::span<const float> novelty,
                  int64_t asked_for, int64_t novel, std::vector<int32_t>& chosen) {
  chosen.resize(received.size());
  std::iota(chosen.begin(), chosen.end(), 0);
  LargestFirst(received, chosen.begin(), chosen.end(), asked_for);
  LargestFirst(novelty, chosen.begin() + asked_for, chosen.end(), novel);
  chosen.resize(asked_for + novel);
  std::ranges::sort(chosen);
}

}  // namespace fmaserver::kernels::cpu
