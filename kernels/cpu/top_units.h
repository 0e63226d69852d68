// The units that a query opens: those of the largest scores. docs/model.md, "Opened units".
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace fmaserver::kernels::cpu {

/// Keeps the best of any number of units, which are offered once each, in constant memory.
class TopUnits {
 public:
  explicit TopUnits(int64_t count) : count_(count) { offers_.reserve(Most()); }

  void Clear() {
    offers_.clear();
    bar_ = std::numeric_limits<float>::quiet_NaN();
  }

  /// Whether some scores are known to be too small.
  bool HasBar() const { return bar_ == bar_; }
  /// Whether an offer of a score of at most `score` may change anything.
  bool MayTake(float score) const { return !(score < bar_); }

  /// NaN counts as the least. Of equals the unit of the smallest number stays.
  void Offer(int64_t unit, float score) {
    if (std::isnan(score)) score = -std::numeric_limits<float>::infinity();
    if (!MayTake(score)) return;
    offers_.push_back({score, unit});
    if (offers_.size() == Most()) KeepBest();
  }

  /// Leaves the `count` best, or all when there are no more, in order. Nothing is offered after it.
  void Finish();

  /// After Finish().
  int64_t size() const { return static_cast<int64_t>(offers_.size()); }
  int64_t Unit(int64_t index) const { return offers_[index].unit; }
  float Score(int64_t index) const { return offers_[index].score; }

 private:
  struct Offered {
    float score;
    int64_t unit;
  };

  void KeepBest();

  /// Few more than are kept, so that the bar is soon as high as it can be.
  size_t Most() const { return static_cast<size_t>(count_ + (count_ + 3) / 4); }

  int64_t count_;
  std::vector<Offered> offers_;
  float bar_ = std::numeric_limits<float>::quiet_NaN();  // the score of the least of `count` kept
};

}  // namespace fmaserver::kernels::cpu
