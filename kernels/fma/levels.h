// Levels, groups and visibility: who sees what in Fast Multipole Attention.
//
// The one place for this arithmetic; everything is constexpr and free of the standard library's run
// time, so that host and device code share it. Source: docs/model.md, "Who sees what" (Kang, Tran,
// De Sterck, arXiv 2310.11960, section 3).
//
// Tokens are counted from 0. A fine group holds m tokens; a level-l group (l = 1..L) holds
// w_l = m * 2^(l-1) tokens, so level 1's groups are the fine groups. A query in fine group g sees
//   * the near field: every token up to itself of fine groups g-1 and g, exactly;
//   * at each level l, with h = g >> (l-1): group h-2, and h-3 when h is odd, each as p summaries.
// A query of an encoder sees the same on both sides: every token of fine groups g-1, g and g+1, and
// also group h+2, and h+3 when h is even. Its last groups may lack tokens.
#pragma once

#include <cstdint>

namespace fmaserver::kernels {

/// A half-open range of group indices [first, end). Indices below zero name groups before the
/// sequence, which do not exist ("missing").
struct GroupRange {
  int64_t first = 0;
  int64_t end = 0;

  constexpr int64_t Missing() const {
    const int64_t missing = (end < 0 ? end : 0) - first;
    return missing > 0 ? missing : 0;
  }
  constexpr GroupRange Existing() const { return {first > 0 ? first : 0, end > 0 ? end : 0}; }
  /// Those of the first `count` groups; perhaps none.
  constexpr GroupRange Below(int64_t count) const {
    const int64_t last = end < count ? end : count;
    return {first < last ? first : last, last};
  }
};

/// The hierarchy of one model. Valid when 1 <= p <= m, p divides m (unless tokens are selected),
/// 0 <= s <= m, 1 <= L and w_L fits.
struct Hierarchy {
  int32_t group_size = 0;   ///< m, tokens in a fine group
  int32_t rank = 0;         ///< p, summaries of a group
  int32_t num_levels = 0;   ///< L
  int32_t sink_tokens = 0;  ///< s, first tokens that stay exact for ever

  /// w_l: tokens in a group of `level` (1..L).
  constexpr int64_t GroupTokens(int level) const { return int64_t{group_size} << (level - 1); }

  constexpr int64_t FineGroup(int64_t position) const { return position / group_size; }

  /// The group of `level` that holds fine group `fine_group`.
  static constexpr int64_t GroupAt(int level, int64_t fine_group) {
    return fine_group >> (level - 1);
  }

  /// Groups of `level` that queries of `fine_group` see through summaries: at most two.
  static constexpr GroupRange FarGroups(int level, int64_t fine_group) {
    const int64_t group = GroupAt(level, fine_group);
    return {(group & ~int64_t{1}) - 2, group - 1};
  }

  /// The groups after its own that an encoder's queries of `fine_group` see through summaries,
  /// besides FarGroups(): at most two, as far as the sequence has them.
  static constexpr GroupRange FarGroupsAfter(int level, int64_t fine_group) {
    const int64_t group = GroupAt(level, fine_group);
    return {group + 2, (group | 1) + 3};
  }

  /// The most groups of a level that an encoder's query sees on both sides together.
  static constexpr int kMostFarGroups = 3;

  /// The fine groups, its own among them, whose tokens an encoder's queries of `fine_group` see in
  /// a sequence that has so many.
  static constexpr GroupRange NearGroups(int64_t fine_group, int64_t count) {
    return GroupRange{fine_group - 1, fine_group + 2}.Existing().Below(count);
  }

  /// Groups of `level` that have a token of a sequence of `length` tokens.
  constexpr int64_t GroupsWithTokens(int level, int64_t length) const {
    return (length + GroupTokens(level) - 1) / GroupTokens(level);
  }

  /// How many levels an encoder's queries see something of: where the first and the last group are
  /// no neighbours.
  constexpr int VisibleLevels(int64_t length) const {
    int levels = 0;
    while (levels < num_levels && GroupsWithTokens(levels + 1, length) > 2) ++levels;
    return levels;
  }

  /// Each summary of a group stands for a share of its tokens. The shares of a level are counted
  /// through all groups, so summary r of a group is that of share group * p + r. p divides m.
  constexpr int64_t ShareOf(int level, int64_t position) const {
    return position / TokensPerSummary(level);
  }

  /// The share of the next level in which a share lies.
  static constexpr int64_t ParentShare(int64_t share) { return share / 2; }

  /// Whether the level-l group that holds the token before `position` ends right there.
  constexpr bool CompletesGroup(int level, int64_t position) const {
    return position % GroupTokens(level) == 0;
  }

  /// From this fine group on, the sink tokens have left the near field.
  static constexpr int64_t kFirstGroupWithSinks = 2;

  /// Tokens that one summary stands for (c_l of the score's ln c_l).
  constexpr int64_t TokensPerSummary(int level) const { return GroupTokens(level) / rank; }

  /// Where summary r of a group sits for rotary positions: the centre of its share of the group.
  constexpr double SummaryCentre(int level, int64_t group, int r) const {
    const double share = static_cast<double>(GroupTokens(level)) / rank;
    return static_cast<double>(group * GroupTokens(level)) + (r + 0.5) * share - 0.5;
  }

  /// How many tokens from the start a query can see completely; in a longer sequence the oldest are
  /// out of view ("horizon").
  constexpr int64_t Horizon() const { return 4 * GroupTokens(num_levels); }

  constexpr bool operator==(const Hierarchy&) const = default;
};

/// How many complete groups a slot keeps per level: while a group is filled, its queries may still
/// see the third group before it (odd index), and the group just before it is kept until it becomes
/// visible.
inline constexpr int kGroupsKept = 3;

/// Those of selected tokens that it keeps: a group is chosen when it comes into view, so only what
/// is in view is kept.
inline constexpr int kSelectedGroupsKept = 2;

}  // namespace fmaserver::kernels
