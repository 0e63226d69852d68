// What a sequence keeps besides its slot when its model opens units of its far past
// (AttentionSpec::open_units): the keys and values of every token that has left the near field,
// appended and never rewritten, with a sketch of every unit. As with slots, the size follows from
// the token count alone.
//
// An archive consists of groups, one for each fine group of m tokens. A group is two blocks of
// bytes, because a step reads all sketches but few of the tokens:
//
//   tokens    [num_layers][num_kv_heads][m / u units] of one contiguous read each: a unit's keys
//             [d, u] elements, which are not rotated and lie as in a slot, then its values [u, d],
//             then the scales [2, u] of both where elements are integers
//   sketches  [num_layers][num_kv_heads][m / u units] of unit_sketch_bytes:
//               mean       [d] numbers; of the keys as queries will meet them for good: rotated by
//                          their positions, but not when max_distance is set or nothing far is
//               deviation  [d] numbers; the root mean square of the keys less their mean
//               factors    [u] numbers; f of every token
//               codes      [ceil(d / 4), u] bytes; of four channels of a token, two bits each from
//                          the lowest on: bit 0 is set below the mean, bit 1 from 0.98 deviations
//                          on
//             padded to whole numbers, which are elements of the slot's type, or bfloat16 where
//             those are integers: sketches do not depend on the type of the tokens
//
// While a max_distance says that the newest groups are met by their own positions, their sketches
// in that form lie in the slot (SlotLayout::sketches_offset). Source: docs/model.md, "Opened
// units".
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/fma/cache_type.h"
#include "kernels/fma/spec.h"

namespace fmaserver::kernels {

/// The sketch of a unit of one KV head; offsets in bytes from where it begins.
struct SketchLayout {
  int64_t deviation_offset = 0;
  int64_t factors_offset = 0;
  int64_t codes_offset = 0;
  int64_t bytes = 0;

  constexpr SketchLayout() = default;
  constexpr SketchLayout(int64_t head_dim, int64_t unit_tokens, CacheType type)
      : deviation_offset(head_dim * SizeOf(type)),
        factors_offset(2 * deviation_offset),
        codes_offset(factors_offset + unit_tokens * SizeOf(type)),
        bytes((codes_offset + (head_dim + 3) / 4 * unit_tokens + SizeOf(type) - 1) / SizeOf(type) *
              SizeOf(type)) {}
};

struct ArchiveLayout {
  Hierarchy hierarchy;
  int32_t num_layers = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t unit_tokens = 0;                  ///< u; 0: there is no archive
  CacheType type = CacheType::kF32;         ///< of tokens
  CacheType sketch_type = CacheType::kF32;  ///< of the numbers of sketches

  constexpr ArchiveLayout() = default;
  constexpr ArchiveLayout(const AttentionSpec& spec, int32_t layers, CacheType element)
      : ArchiveLayout(spec, layers, element, element) {}
  /// `slot`: the type of the slot beside it. `tokens`: see CanArchive().
  constexpr ArchiveLayout(const AttentionSpec& spec, int32_t layers, CacheType slot,
                          CacheType tokens)
      : hierarchy(spec.hierarchy),
        num_layers(layers),
        num_kv_heads(spec.num_kv_heads),
        head_dim(spec.head_dim),
        unit_tokens(spec.Opens() ? spec.open_size : 0),
        type(tokens),
        sketch_type(SketchTypeOf(slot)) {}

  explicit constexpr operator bool() const { return unit_tokens > 0; }

  constexpr SketchLayout Sketch() const { return {head_dim, unit_tokens, sketch_type}; }
  constexpr int64_t UnitsPerGroup() const {
    return unit_tokens > 0 ? hierarchy.group_size / unit_tokens : 0;
  }
  constexpr int64_t UnitTokenBytes() const {
    return 2 * int64_t{unit_tokens} * VectorBytes(type, head_dim);
  }
  /// Of one KV head's tokens, and of their sketches, in one group.
  constexpr int64_t HeadTokenBytes() const { return UnitsPerGroup() * UnitTokenBytes(); }
  constexpr int64_t HeadSketchBytes() const { return UnitsPerGroup() * Sketch().bytes; }
  constexpr int64_t HeadIndex(int32_t layer, int32_t kv_head) const {
    return int64_t{layer} * num_kv_heads + kv_head;
  }
  /// Of one group.
  constexpr int64_t TokenBytes() const {
    return int64_t{num_layers} * num_kv_heads * HeadTokenBytes();
  }
  constexpr int64_t SketchBytes() const {
    return int64_t{num_layers} * num_kv_heads * HeadSketchBytes();
  }
  constexpr int64_t GroupBytes() const { return TokenBytes() + SketchBytes(); }

  /// How many groups are archived once a sequence has `tokens`: all except the one that the next
  /// token is in and the one before it.
  constexpr int64_t Groups(int64_t tokens) const {
    return unit_tokens > 0 ? std::max<int64_t>(0, hierarchy.FineGroup(tokens) - 1) : 0;
  }

  constexpr int64_t Bytes(int64_t tokens) const { return Groups(tokens) * GroupBytes(); }

  constexpr bool operator==(const ArchiveLayout&) const = default;
};

}  // namespace fmaserver::kernels
