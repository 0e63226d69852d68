#include "tests/kernels/plain_rounding.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>

#include "kernels/fma/element.h"

namespace fmaserver::testing {
namespace {

using kernels::Float16;
using kernels::kWeightBlock;
using Numbers = std::array<float, kWeightBlock>;

/// Eight sums of every eighth number, of which each four, two and one are added to the others.
float Sum(Numbers numbers) {
  for (int i = 8; i < kWeightBlock; ++i) numbers[i % 8] += numbers[i];
  for (const int half : {4, 2, 1}) {
    for (int i = 0; i < half; ++i) numbers[i] += numbers[half + i];
  }
  return numbers[0];
}

float SumOfProducts(const Numbers& a, const Numbers& b) {
  Numbers products;
  std::ranges::transform(a, b, products.begin(), std::multiplies());
  return Sum(products);
}

Float16 Half(float x) { return kernels::FromFloat<Float16>(std::clamp(x, -65504.0F, 65504.0F)); }

/// (numbers - minimum) * inverse, rounded to integers of ties to even, least..most.
Numbers Codes(const Numbers& numbers, float minimum, float inverse, float least, float most) {
  Numbers codes;
  for (int i = 0; i < kWeightBlock; ++i) {
    codes[i] = std::nearbyint(std::clamp((numbers[i] - minimum) * inverse, least, most));
  }
  return codes;
}

float Inverse(Float16 scale) {
  const float unit = kernels::ToFloat(scale);
  return unit == 0 ? 0 : 1.0F / unit;
}

/// "Of the 17 ways ..., that with the largest (sum wk)^2 / sum k^2."
float Int4Scale(const Numbers& numbers, float extreme) {
  float best = 0;
  float scale = 0;
  for (int i = -8; i <= 8; ++i) {
    const float reach = -8.0F - 0.125F * static_cast<float>(i);
    const Numbers k = Codes(numbers, 0, reach / extreme, -8, 7);
    const float product = SumOfProducts(numbers, k);
    const float square = SumOfProducts(k, k);
    if (square > 0 && product * product > best * square) {
      best = product * product / square;
      scale = product / square;
    }
  }
  return scale;
}

/// "Of the 8 ways ..., that whose line of least squares has the least squared error."
void FitLine(const Numbers& numbers, float& scale, float& minimum) {
  const float low = std::ranges::min(numbers) + 0.0F;
  const float range = std::ranges::max(numbers) - low;
  scale = 0;
  minimum = low;
  if (range < 0x1p-24F) return;
  Numbers above;
  for (int i = 0; i < kWeightBlock; ++i) above[i] = numbers[i] - low;
  const float sum = Sum(above);
  float least_error = std::numeric_limits<float>::infinity();
  for (int n = 8; n <= 15; ++n) {
    const Numbers k = Codes(above, 0, static_cast<float>(n) / range, 0, static_cast<float>(n));
    const float codes = Sum(k);
    const float products = SumOfProducts(above, k);
    const float squares = SumOfProducts(k, k);
    const float slope = (32.0F * products - sum * codes) / (32.0F * squares - codes * codes);
    const float start = (sum - slope * codes) / 32.0F;
    Numbers off;
    for (int i = 0; i < kWeightBlock; ++i) off[i] = above[i] - (slope * k[i] + start);
    const float error = SumOfProducts(off, off);
    if (!(error < least_error)) continue;
    least_error = error;
    scale = slope;
    minimum = low + start;
  }
}

}  // namespace

kernels::WeightBlock PlainRounding(std::span<const float> numbers, kernels::BlockKind kind) {
  Numbers all = {};
  std::ranges::copy(numbers, all.begin());
  const float extreme =
      *std::ranges::max_element(all, [](float a, float b) { return std::abs(a) < std::abs(b); });
  kernels::WeightBlock block{.format = kind.format, .has_minimum = kind.has_minima};
  float scale = 0;
  float minimum = 0;
  int offset = 0;
  float least = 0;
  float most = 15;
  if (kind.has_minima) {
    FitLine(all, scale, minimum);
  } else if (kind.format == kernels::WeightFormat::kInt8) {
    scale = std::abs(extreme) / 127.0F;
    least = -127;
    most = 127;
  } else {
    scale = extreme == 0 ? 0 : Int4Scale(all, extreme);
    offset = kernels::kInt4Offset;
    least = -8;
    most = 7;
  }
  block.scale = Half(scale);
  block.minimum = Half(minimum);
  const Numbers codes =
      Codes(all, kernels::ToFloat(block.minimum), Inverse(block.scale), least, most);
  for (int i = 0; i < kWeightBlock; ++i) {
    block.codes[i] = static_cast<int8_t>(static_cast<int>(codes[i]) + offset);
  }
  return block;
}

}  // namespace fmaserver::testing
