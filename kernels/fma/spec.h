// What a transformer layer of this project consists of, as plain data: no files, no devices.
#pragma once

#include <cstdint>

#include "kernels/fma/levels.h"

namespace fmaserver::kernels {

enum class Downsampling : uint8_t { kGroupedConv, kConv, kAverage, kHierarchical, kSelect };
enum class Padding : uint8_t { kMasked, kZeroKeys };
enum class PositionEmbedding : uint8_t { kLearned, kRope, kNone };
enum class FarPositions : uint8_t { kCenter, kNone, kOwn };
enum class NormKind : uint8_t { kLayerNorm, kRmsNorm };
enum class MlpKind : uint8_t { kGelu, kGeluTanh, kSwiglu };

/// One attention layer. Query head h reads KV head h / (num_heads / num_kv_heads).
struct AttentionSpec {
  int32_t num_heads = 0;     ///< H
  int32_t num_kv_heads = 0;  ///< K, divides H
  int32_t head_dim = 0;      ///< d, even with rotary positions
  Hierarchy hierarchy;
  Downsampling downsampling = Downsampling::kHierarchical;
  bool share_levels = false;  ///< hierarchical only: weight 1 serves every level above 1
  bool scale_far_field = false;
  bool level_bias = false;
  Padding padding = Padding::kMasked;
  PositionEmbedding positions = PositionEmbedding::kRope;
  FarPositions far_positions = FarPositions::kCenter;
  double rope_theta = 10000.0;
  double rope_attention_factor = 1.0;  ///< a: with rotary positions every score carries a^2
  int32_t select_lag = 0;    ///< select: near tokens receive attention from this distance on
  int32_t select_novel = 0;  ///< select: r, tokens of a group that are chosen for their novelty
  int64_t max_distance = 0;  ///< C, rotated far field only: nothing seems farther; 0: no bound

  int32_t open_units = 0;  ///< select: B, units of the far past that a query opens; 0: none
  int32_t open_size = 32;  ///< select: u, tokens of a unit; divides m when units are opened

  bool causal = true;  ///< false: an encoder's, whose queries see both sides
  bool query_downsampling =
      false;  ///< encoders only: far summaries are asked by shares, not tokens

  constexpr int32_t QueriesPerKvHead() const { return num_heads / num_kv_heads; }
  /// Columns of the fused product: queries, then keys, then values.
  constexpr int64_t QkvColumns() const { return int64_t{num_heads + 2 * num_kv_heads} * head_dim; }
  /// Whether groups are represented by tokens of their own, not by summaries.
  constexpr bool Selects() const { return downsampling == Downsampling::kSelect; }
  /// Whether queries open units, for which their sequence needs an archive.
  constexpr bool Opens() const { return open_units > 0; }
  /// How many of the newest archived groups are met by their own positions while all before them
  /// seem max_distance away; 0 when all are met alike.
  constexpr int64_t GroupsInPlace() const {
    return Opens() && max_distance > 0 ? max_distance / hierarchy.group_size - 2 : 0;
  }
  /// Whether the far field (and sinks that left the near field) carries rotary positions.
  constexpr bool FarIsRotated() const {
    return positions == PositionEmbedding::kRope && far_positions != FarPositions::kNone;
  }
  /// Whether all of `level` (1..L) seems max_distance away: its keys are not rotated, and queries
  /// meet them rotated by max_distance.
  constexpr bool SeemsDistant(int level) const {
    return max_distance > 0 && 4 * hierarchy.GroupTokens(level) > max_distance;
  }
  /// The first such level, behind which all are; L + 1 when there is none.
  constexpr int FirstDistantLevel() const {
    int level = 1;
    while (level <= hierarchy.num_levels && !SeemsDistant(level)) ++level;
    return level;
  }
  /// Whether the keys of `level` carry rotary positions.
  constexpr bool FarIsRotated(int level) const { return FarIsRotated() && !SeemsDistant(level); }

  /// The same layer with nothing rotated. Its slot is laid out like that of the others.
  constexpr AttentionSpec WithoutRope() const {
    AttentionSpec spec = *this;
    spec.positions = PositionEmbedding::kNone;
    spec.rope_attention_factor = 1.0;
    spec.max_distance = 0;
    return spec;
  }

  constexpr bool operator==(const AttentionSpec&) const = default;
};

/// Downsampling weights that a layer has: one per level, two when levels are shared.
constexpr int32_t NumDownsamplingWeights(const AttentionSpec& spec) {
  if (spec.downsampling == Downsampling::kAverage || spec.Selects()) return 0;
  const int32_t levels = spec.hierarchy.num_levels;
  return spec.share_levels && levels > 2 ? 2 : levels;
}

/// Index of the downsampling weight that serves `level` (1..L).
constexpr int32_t DownsamplingIndex(const AttentionSpec& spec, int level) {
  return spec.share_levels && level > 1 ? 1 : level - 1;
}

/// Inputs of one group's summaries at `level`: the group's tokens, or for hierarchical levels above
/// 1 the 2p summaries of its two children. The taps of the weight's last dimension.
constexpr int64_t DownsamplingInputs(const AttentionSpec& spec, int level) {
  return spec.downsampling == Downsampling::kHierarchical && level > 1
             ? 2 * int64_t{spec.hierarchy.rank}
             : spec.hierarchy.GroupTokens(level);
}

}  // namespace fmaserver::kernels
