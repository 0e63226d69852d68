#include "kernels/host/selection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace fmaserver::kernels {
namespace {

constexpr double kRidge = 0.1;       // of the mean variance of a channel
constexpr double kNoSpread = 1e-10;  // of the mean square of a channel
constexpr double kSteps = 1024;      // novelty is a multiple of 1 / kSteps

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

/// to += scale * from, from place `first` on.
void AddScaled(double scale, std::span<const double> from, int64_t first, std::span<double> to) {
  for (size_t i = first; i < to.size(); ++i) to[i] += scale * from[i];
}

/// Subtracts the mean of the keys from each.
void Centre(std::span<double> keys, int64_t dim, std::span<double> mean) {
  std::ranges::fill(mean, 0.0);
  const auto count = static_cast<double>(keys.size()) / static_cast<double>(dim);
  for (size_t key = 0; key < keys.size(); key += dim) AddScaled(1, keys.subspan(key, dim), 0, mean);
  for (double& x : mean) x /= count;
  for (size_t key = 0; key < keys.size(); key += dim)
    AddScaled(-1, mean, 0, keys.subspan(key, dim));
}

/// The upper half of (1/m) sum of x x^T.
void FindSpread(std::span<const double> keys, int64_t dim, std::span<double> spread) {
  std::ranges::fill(spread, 0.0);
  const double share = static_cast<double>(dim) / static_cast<double>(keys.size());
  for (size_t key = 0; key < keys.size(); key += dim) {
    const std::span<const double> x = keys.subspan(key, dim);
    for (int64_t i = 0; i < dim; ++i) AddScaled(share * x[i], x, i, spread.subspan(i * dim, dim));
  }
}

/// The upper half of a positive definite matrix A becomes U, A = U^T U.
void Factorise(std::span<double> matrix, int64_t dim) {
  for (int64_t k = 0; k < dim; ++k) {
    const std::span<double> row = matrix.subspan(k * dim, dim);
    const double scale = 1 / std::sqrt(row[k]);
    for (int64_t i = k; i < dim; ++i) row[i] *= scale;
    for (int64_t i = k + 1; i < dim; ++i) {
      AddScaled(-row[i], row, i, matrix.subspan(i * dim, dim));
    }
  }
}

/// x^T (U^T U)^(-1) x = |y|^2 with U^T y = x; uses x up.
double Leverage(std::span<const double> factor, std::span<double> x) {
  const auto dim = static_cast<int64_t>(x.size());
  double sum = 0;
  for (int64_t k = 0; k < dim; ++k) {
    const std::span<const double> row = factor.subspan(k * dim, dim);
    const double y = x[k] / row[k];
    AddScaled(-y, row, k + 1, x);
    sum += y * y;
  }
  return sum;
}

double SumOfSquares(std::span<const double> x) {
  return std::transform_reduce(x.begin(), x.end(), x.begin(), 0.0);
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

void FindNovelty(std::span<double> keys, int64_t dim, std::span<double> spread,
                 std::span<float> novelty) {
  const double mean_square = SumOfSquares(keys) / static_cast<double>(keys.size());
  Centre(keys, dim, spread.first(dim));
  const double variance = SumOfSquares(keys) / static_cast<double>(keys.size());
  if (!(variance > kNoSpread * mean_square)) {
    std::ranges::fill(novelty, 0.0F);
    return;
  }
  FindSpread(keys, dim, spread);
  for (int64_t i = 0; i < dim; ++i) spread[i * dim + i] += kRidge * variance;
  Factorise(spread, dim);
  for (size_t i = 0; i < novelty.size(); ++i) {
    const double leverage = Leverage(spread, keys.subspan(i * dim, dim));
    novelty[i] = static_cast<float>(std::nearbyint(leverage * kSteps) / kSteps);
  }
}

}  // namespace fmaserver::kernels
