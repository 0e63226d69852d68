// The groups of several whole sequences, counted through, and where what is made of them lies.
//
// The summaries of all levels and sequences have places of their own: those of a group are
// neighbours, and so are the groups of a level in a sequence, so that a group's two children and
// the shares of a level lie in a row.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/fma/spec.h"

namespace fmaserver::kernels {

/// Summaries that a query sees of a level, in a row.
struct SummaryRun {
  int level = 0;
  int64_t place = 0;
  int64_t count = 0;
};

/// How many summaries groups `seen` of a level have in a sequence of `length` tokens, up to the
/// first that does not exist: with averages a share without tokens has none.
constexpr int64_t CountSummaries(const Hierarchy& hierarchy, bool averages, int level,
                                 GroupRange seen, int64_t length) {
  const int64_t count = (seen.end - seen.first) * hierarchy.rank;
  if (!averages || count == 0) return count;
  const int64_t existing = hierarchy.ShareOf(level, length - 1) + 1 - seen.first * hierarchy.rank;
  return count < existing ? count : existing;
}

/// What a group's summaries of `level` are made of: so many tokens, or summaries of the level
/// below.
constexpr int64_t SummaryInputs(const AttentionSpec& spec, int level) {
  const bool from_below = spec.downsampling == Downsampling::kHierarchical ||
                          spec.downsampling == Downsampling::kAverage;
  return level > 1 && from_below ? 2 * int64_t{spec.hierarchy.rank}
                                 : spec.hierarchy.GroupTokens(level);
}

/// Where the numbers of a plan are in one list, which devices may have too.
struct EncoderNumbers {
  int64_t sequences = 0;
  int32_t levels = 0;  ///< of which some sequence sees something

  /// The rows before a sequence, or before the end.
  constexpr int64_t FirstRow(int64_t sequence) const { return sequence; }
  /// The groups of a level before it; level 0 has the fine groups, and those above only groups of
  /// sequences that see something of them.
  constexpr int64_t Count(int level, int64_t sequence) const {
    return (1 + level) * (sequences + 1) + sequence;
  }
  /// The summaries of the levels before, 1 to levels + 1.
  constexpr int64_t FirstPlace(int level) const { return Count(levels + 1, level - 1); }
  constexpr int64_t Size() const { return FirstPlace(levels + 1) + 1; }

  bool operator==(const EncoderNumbers&) const = default;
};

class EncoderPlan {
 public:
  /// `lengths` are those of the sequences, 1 or more each.
  EncoderPlan(const AttentionSpec& spec, std::span<const int64_t> lengths);

  /// A group of a level, or a fine group whose tokens ask as one block.
  struct Group {
    int64_t sequence = 0;
    int64_t index = 0;
  };

  int64_t Length(int64_t sequence) const { return FirstRow(sequence + 1) - FirstRow(sequence); }
  /// Of a sequence's tokens among those of all.
  int64_t FirstRow(int64_t sequence) const { return numbers_[at_.FirstRow(sequence)]; }
  int64_t rows() const { return FirstRow(at_.sequences); }
  int64_t longest() const { return longest_; }

  int levels() const { return at_.levels; }
  /// Groups of `level` of the sequences that see something of it; of level 0 all fine groups, whose
  /// tokens ask as blocks.
  int64_t Groups(int level) const { return numbers_[at_.Count(level, at_.sequences)]; }
  Group GroupAt(int level, int64_t number) const;

  /// Of the first summary of a group.
  int64_t Place(int level, int64_t sequence, int64_t group) const {
    return numbers_[at_.FirstPlace(level)] +
           (numbers_[at_.Count(level, sequence)] + group) * hierarchy_.rank;
  }
  int64_t places() const { return numbers_[at_.FirstPlace(at_.levels + 1)]; }

  /// Adds what queries of `fine_group` see of `level`: perhaps nothing.
  void List(int level, int64_t sequence, int64_t fine_group, std::vector<SummaryRun>& runs) const;

  const EncoderNumbers& at() const { return at_; }
  std::span<const int64_t> numbers() const { return numbers_; }

 private:
  const Hierarchy hierarchy_;
  const bool averages_;
  int64_t longest_ = 0;
  EncoderNumbers at_;
  std::vector<int64_t> numbers_;
};

}  // namespace fmaserver::kernels
