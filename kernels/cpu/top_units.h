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
  struct Scored {
    float score;
    int64_t unit;
  };

  explicit TopUnits(int64_t count) : count_(count) { best_.reserve(static_cast<size_t>(count)); }

  void Clear() { best_.clear(); }

  bool IsFull() const { return static_cast<int64_t>(best_.size()) == count_; }
  /// No unit of a smaller score would be kept.
  float Bar() const {
    return IsFull() ? best_.front().score : -std::numeric_limits<float>::infinity();
  }
  /// Whether an offer of a score of at most `score` may change anything.
  bool MayTake(float score) const { return !(score < Bar()); }

  /// NaN counts as the least. Of equals the unit of the smallest number stays.
  void Offer(int64_t unit, float score) {
    if (std::isnan(score)) score = -std::numeric_limits<float>::infinity();
    if (MayTake(score)) Insert({score, unit});
  }

  /// Sorts what is kept by unit. Nothing is offered after it.
  void Finish();

  /// What is kept, in order after Finish().
  std::span<const Scored> best() const { return best_; }
  int64_t size() const { return static_cast<int64_t>(best_.size()); }
  int64_t Unit(int64_t index) const { return best_[index].unit; }
  float Score(int64_t index) const { return best_[index].score; }

 private:
  void Insert(const Scored& offered);
  void ReplaceWorst(const Scored& offered);

  int64_t count_;
  std::vector<Scored> best_;  // a heap, the worst in front
};

}  // namespace fmaserver::kernels::cpu
