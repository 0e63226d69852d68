// How long prompts and outputs are, in tokens.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "absl/status/statusor.h"

namespace fmaserver::bench {

/// A distribution of lengths from 1 to Max().
class LengthDistribution {
 public:
  /// The largest length that can be asked for, in tokens.
  static constexpr int64_t kLimit = 100'000'000;

  /// "fixed:N", "uniform:MIN:MAX" or "lognormal:MEDIAN:SIGMA:MAX", where SIGMA is the standard
  /// deviation of the logarithm and lengths above MAX become MAX. INVALID_ARGUMENT says what is
  /// wrong with `text`.
  static absl::StatusOr<LengthDistribution> Parse(const std::string& text);

  int64_t Draw(std::mt19937_64& random) const;
  int64_t Max() const { return max_; }

 private:
  LengthDistribution(int64_t min, int64_t max, double median, double sigma)
      : min_(min), max_(max), median_(median), sigma_(sigma) {}

  int64_t min_;
  int64_t max_;
  double median_;
  double sigma_;  // 0: uniform
};

}  // namespace fmaserver::bench
