#include "bench/load/length_distribution.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::bench {
namespace {

bool ToLength(absl::string_view text, int64_t& length) {
  return absl::SimpleAtoi(text, &length) && length >= 1 && length <= LengthDistribution::kLimit;
}

bool ToSigma(absl::string_view text, double& sigma) {
  return absl::SimpleAtod(text, &sigma) && sigma > 0 && sigma <= 10;
}

}  // namespace

absl::StatusOr<LengthDistribution> LengthDistribution::Parse(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  int64_t min = 0;
  int64_t max = 0;
  double sigma = 0;
  if (parts[0] == "fixed" && parts.size() == 2 && ToLength(parts[1], min)) {
    return LengthDistribution(min, min, 0, 0);
  }
  if (parts[0] == "uniform" && parts.size() == 3 && ToLength(parts[1], min) &&
      ToLength(parts[2], max) && min <= max) {
    return LengthDistribution(min, max, 0, 0);
  }
  if (parts[0] == "lognormal" && parts.size() == 4 && ToLength(parts[1], min) &&
      ToSigma(parts[2], sigma) && ToLength(parts[3], max) && min <= max) {
    return LengthDistribution(1, max, static_cast<double>(min), sigma);
  }
  return Refusal(
      "distribution of lengths", text,
      Concat("fixed:N, uniform:MIN:MAX, lognormal:MEDIAN:SIGMA:MAX, with lengths from 1 to ",
             kLimit, " and SIGMA up to 10"));
}

int64_t LengthDistribution::Draw(std::mt19937_64& random) const {
  if (sigma_ == 0) return std::uniform_int_distribution<int64_t>(min_, max_)(random);
  const double logarithm = std::normal_distribution<double>(std::log(median_), sigma_)(random);
  // Limited before the conversion, which is undefined for numbers that do not fit.
  const double length = std::min(std::exp(logarithm), static_cast<double>(max_));
  return std::max(min_, static_cast<int64_t>(std::llround(length)));
}

}  // namespace fmaserver::bench
