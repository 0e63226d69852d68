// Where a sequence's state is kept while it grows, and for whom.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <vector>

namespace fmaserver::engine {

/// Token counts at which a sequence's state is wanted, counted from its very first token. Slices of
/// its prompt end at every one of them, because a state can only be taken between steps.
class StatePoints {
 public:
  /// A session is offered its state at this distance, besides its marks.
  static constexpr int64_t kRegularDistance = 4096;

  void AddCache(int64_t tokens) { Add(cache_, tokens); }
  void AddMark(int64_t tokens) { Add(marks_, tokens); }
  void SetFork(int64_t tokens) { fork_ = tokens; }
  void KeepRegularly() { regular_ = true; }

  bool IsCache(int64_t tokens) const { return Holds(cache_, tokens); }
  bool IsMark(int64_t tokens) const { return Holds(marks_, tokens); }
  bool IsFork(int64_t tokens) const { return fork_ == tokens; }
  bool IsRegular(int64_t tokens) const { return regular_ && tokens % kRegularDistance == 0; }
  bool IsAny(int64_t tokens) const {
    return IsCache(tokens) || IsMark(tokens) || IsFork(tokens) || IsRegular(tokens);
  }

  /// The first point past `tokens`; the largest int64 if there is none.
  int64_t After(int64_t tokens) const {
    int64_t next = std::min(First(cache_, tokens), First(marks_, tokens));
    if (fork_ > tokens) next = std::min(next, fork_);
    if (regular_) next = std::min(next, (tokens / kRegularDistance + 1) * kRegularDistance);
    return next;
  }

 private:
  using Sorted = std::vector<int64_t>;

  static void Add(Sorted& points, int64_t tokens) {
    points.insert(std::ranges::upper_bound(points, tokens), tokens);
  }
  static bool Holds(const Sorted& points, int64_t tokens) {
    return std::ranges::binary_search(points, tokens);
  }
  static int64_t First(const Sorted& points, int64_t tokens) {
    const auto next = std::ranges::upper_bound(points, tokens);
    return next == points.end() ? std::numeric_limits<int64_t>::max() : *next;
  }

  Sorted cache_;
  Sorted marks_;
  int64_t fork_ = -1;
  bool regular_ = false;
};

}  // namespace fmaserver::engine
