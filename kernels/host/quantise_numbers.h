// What the ways of rounding a block share.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "kernels/fma/weight_format.h"

namespace fmaserver::kernels {

constexpr float kMostOfFloat16 = 65504.0F;

/// Of a block.
using BlockNumbers = std::array<float, kWeightBlock>;

/// The numbers, and zeros where a row ends before its block.
inline BlockNumbers WholeBlock(std::span<const float> numbers) {
  BlockNumbers all = {};
  std::ranges::copy(numbers, all.begin());
  return all;
}

/// To the nearest integer, of ties to even, for numbers below 2^22: a sum that has no bits behind
/// the point.
inline float RoundToInteger(float x) {
  constexpr float kShift = 0x1.8p23F;
  return (x + kShift) - kShift;
}

/// The sum of f(0) .. f(kWeightBlock - 1), in one fixed order that vector instructions can keep:
/// eight sums of every eighth, of which each four, two and one are added to the others.
template <typename Function>
float SumOverBlock(const Function& f) {
  constexpr int64_t kLanes = 8;
  std::array<float, kLanes> sums;
  for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] = f(lane);
  for (int64_t first = kLanes; first < kWeightBlock; first += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += f(first + lane);
  }
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) sums[lane] += sums[half + lane];
  }
  return sums[0];
}

}  // namespace fmaserver::kernels
