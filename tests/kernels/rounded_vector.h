// How a vector becomes integers, by its definition.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kernels/fma/element.h"

namespace fmaserver::testing {

/// As kernels/fma/cache_type.h says, in other words.
struct RoundedVector {
  explicit RoundedVector(std::span<const float> x) {
    double largest = 0;
    for (const float number : x) {
      if (!std::isfinite(number)) {
        scale = NAN;
        numbers.assign(x.size(), 0);
        return;
      }
      largest = std::max(largest, double{std::abs(number)});
    }
    const auto exact = static_cast<float>(largest) / 127.0F;
    scale = kernels::ToFloat(
        kernels::BFloat16{static_cast<uint16_t>(std::bit_cast<uint32_t>(exact) >> 16)});
    if (scale < exact) {
      const uint32_t next = std::bit_cast<uint32_t>(scale) + 0x10000U;
      scale = std::bit_cast<float>(next);
    }
    if (exact < std::numeric_limits<float>::min()) scale = 0;
    const float inverse = 1.0F / scale;
    for (const float number : x) {
      numbers.push_back(scale == 0 ? 0 : static_cast<int8_t>(std::nearbyint(number * inverse)));
    }
  }

  float scale;
  std::vector<int8_t> numbers;
};

}  // namespace fmaserver::testing
