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

namespace fmaserver::kernels::cpu {

/// Summaries that a query sees of a level, in a row.
struct SummaryRun {
  int level = 0;
  int64_t place = 0;
  int64_t count = 0;
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

  int64_t Length(int64_t sequence) const {
    return first_rows_[sequence + 1] - first_rows_[sequence];
  }
  /// Of a sequence's tokens among those of all.
  int64_t FirstRow(int64_t sequence) const { return first_rows_[sequence]; }
  int64_t longest() const { return longest_; }

  /// All fine groups.
  int64_t Blocks() const { return counts_[0].back(); }
  Group Block(int64_t number) const { return Find(counts_[0], number); }

  /// Levels of which some sequence sees something.
  int levels() const { return static_cast<int>(counts_.size()) - 1; }
  /// Groups of `level` of the sequences that see something of it.
  int64_t Groups(int level) const { return counts_[level].back(); }
  Group GroupAt(int level, int64_t number) const { return Find(counts_[level], number); }

  /// Of the first summary of a group.
  int64_t Place(int level, int64_t sequence, int64_t group) const {
    return first_places_[level] + (counts_[level][sequence] + group) * hierarchy_.rank;
  }
  int64_t places() const { return first_places_.back(); }

  /// Adds what queries of `fine_group` see of `level`: perhaps nothing.
  void List(int level, int64_t sequence, int64_t fine_group, std::vector<SummaryRun>& runs) const;

 private:
  static Group Find(const std::vector<int64_t>& counts, int64_t number);

  const Hierarchy hierarchy_;
  const bool averages_;  // then a share without tokens has no summary
  int64_t longest_ = 0;
  std::vector<int64_t> first_rows_;           // [sequences + 1]
  std::vector<std::vector<int64_t>> counts_;  // [1 + levels, sequences + 1]: groups before
  std::vector<int64_t> first_places_;         // [1 + levels + 1]; none of level 0
};

/// Where everything lies in the memory that an encoder's attention works in. Numbers are float32;
/// D is the head dimension, rounded up to SlotLayout::kLane.
struct EncoderLayout {
  EncoderLayout(const AttentionSpec& spec, const EncoderPlan& plan, int threads);

  int64_t dim = 0;        ///< D
  int64_t rows = 0;       ///< queries of a block at the same time, at most
  int64_t columns = 0;    ///< of a list of keys, at most
  int64_t near = 0;       ///< of those that are tokens
  int64_t rotations = 0;  ///< [longest, d], with rotary positions
  int64_t keys = 0;       ///< [K, places, D]
  int64_t values = 0;     ///< [K, places, D]
  int64_t queries = 0;    ///< [H, places, D], with query_downsampling
  int64_t masses = 0;     ///< [H, places], likewise
  int64_t scratch = 0;    ///< [threads, scratch_floats]
  int64_t scratch_floats = 0;
  int64_t floats = 0;  ///< of all
};

/// Working memory of one thread, in the last part of it.
struct EncoderScratch {
  EncoderScratch(const EncoderLayout& layout, float* memory);
  static int64_t Floats(const EncoderLayout& layout);

  float* vector;        ///< [D]
  float* rotation;      ///< [D]
  float* keys;          ///< [D, columns]; transposed, so that the lanes of a score are columns
  float* values;        ///< [near, D], of tokens
  float* near_queries;  ///< [rows, d], scaled by QueryScale(), rotated
  float* far_queries;   ///< [rows, d], not rotated
  float* scores;        ///< [rows, columns]
  float* outputs;       ///< [kRowTile, D]
};

}  // namespace fmaserver::kernels::cpu
