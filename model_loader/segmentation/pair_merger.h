// Byte-pair merging: the best pair of neighbours becomes one symbol until no pair is left
// (Sennrich et al., arXiv 1508.07909).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace fmaserver::model {

/// Rules say what symbols are and which pairs merge:
///
///     using Part = ...;                              // what a symbol stands for
///     using Rank = ...;                              // smaller ranks merge first
///     static constexpr Rank kNoMerge;                // no pair's rank
///     Rank RankOf(const Part& left, const Part& right) const;
///     Part Merged(const Part& left, const Part& right, Rank rank) const;
///
/// Pairs of equal rank merge from left to right. Takes n log n steps for n symbols. Memory is kept
/// from one run to the next. `rules` must outlive the merger.
template <typename Rules>
class PairMerger {
 public:
  using Part = typename Rules::Part;
  using Rank = typename Rules::Rank;

  explicit PairMerger(const Rules& rules) : rules_(rules) {}

  /// Makes room for a run of so many symbols, which must be fewer than 2^31.
  void Reserve(size_t symbols) { symbols_.reserve(symbols); }

  void Append(const Part& part) {
    const auto index = static_cast<int32_t>(symbols_.size());
    if (index > 0) symbols_.back().next = index;
    symbols_.push_back({.part = part, .previous = index - 1});
  }

  /// Merges what was appended since the last call, and calls emit(part) for what is left of it.
  template <typename Emit>
  void Finish(const Emit& emit) {
    if (symbols_.empty()) return;
    agenda_.reserve(symbols_.size());
    for (size_t i = 0; i + 1 < symbols_.size(); ++i) Rate(static_cast<int32_t>(i));
    std::ranges::make_heap(agenda_, std::less<>());
    while (!agenda_.empty()) {
      std::ranges::pop_heap(agenda_, std::less<>());
      const Pair pair = agenda_.back();
      agenda_.pop_back();
      if (symbols_[pair.left].rank == pair.rank) Merge(pair.left);
    }
    for (int32_t i = 0; i != kNone; i = symbols_[i].next) emit(symbols_[i].part);
    symbols_.clear();
  }

 private:
  static constexpr int32_t kNone = -1;

  /// A part of the run in a doubly linked list. Its left neighbour takes it over when they merge.
  struct Symbol {
    Part part{};
    int32_t previous = kNone;
    int32_t next = kNone;
    Rank rank = Rules::kNoMerge;  ///< of the pair that it makes with its right neighbour
  };

  /// Two neighbours that could merge when they were offered. Stale when the left one's rank is
  /// another one by now.
  struct Pair {
    Rank rank{};
    int32_t left = 0;

    /// The smallest rank is the greatest pair, and of equal ones the leftmost.
    bool operator<(const Pair& other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };

  /// Finds the rank of `index` and its right neighbour; puts the pair at the end of the agenda.
  bool Rate(int32_t index) {
    Symbol& left = symbols_[index];
    left.rank = Rules::kNoMerge;
    if (left.next == kNone) return false;
    const Rank rank = rules_.RankOf(left.part, symbols_[left.next].part);
    if (rank == Rules::kNoMerge) return false;
    left.rank = rank;
    agenda_.push_back({rank, index});
    return true;
  }

  void Offer(int32_t index) {
    if (Rate(index)) std::ranges::push_heap(agenda_, std::less<>());
  }

  void Merge(int32_t index) {
    Symbol& left = symbols_[index];
    Symbol& right = symbols_[left.next];
    left.part = rules_.Merged(left.part, right.part, left.rank);
    left.next = right.next;
    if (right.next != kNone) symbols_[right.next].previous = index;
    right.rank = Rules::kNoMerge;
    if (left.previous != kNone) Offer(left.previous);
    Offer(index);
  }

  const Rules& rules_;
  std::vector<Symbol> symbols_;
  std::vector<Pair> agenda_;  // a heap
};

}  // namespace fmaserver::model
