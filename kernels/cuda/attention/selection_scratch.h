// How much memory the kernels of selected tokens need beside the slot.
//
// A step's scratch: the matrices of kChoosers blocks of threads, then what the rows of a wave give
// to each entry of their lists [rows, KV heads, MaxEntries()], then the copies of heads that
// tentative segments work on.
#pragma once

#include <cstdint>

#include "kernels/fma/slot_layout.h"
#include "kernels/fma/spec.h"

namespace fmaserver::kernels::cuda {

/// Blocks of threads that choose groups at the same time.
inline constexpr int64_t kChoosers = 64;

/// The most entries that a query's list has.
constexpr int64_t MaxEntries(const SlotLayout& layout) {
  const Hierarchy& h = layout.hierarchy;
  return h.sink_tokens + int64_t{kSelectedGroupsKept} * h.num_levels * h.rank +
         2 * int64_t{h.group_size};
}

/// Lists up to this fit into the shared memory of every supported device.
inline constexpr int64_t kMaxSelectedEntries = 10'000;

/// Where a block keeps the novelty of a fine group while it is found: [d, d + m] float64, then the
/// novelty of m tokens.
constexpr int64_t ChooserBytes(const AttentionSpec& spec) {
  if (spec.select_novel == 0) return 0;
  const int64_t dim = spec.head_dim;
  const int64_t tokens = spec.hierarchy.group_size;
  const int64_t matrix = dim * (dim + tokens) * int64_t{sizeof(double)};
  return SlotLayout::RoundUp(matrix + tokens * int64_t{sizeof(float)}, SlotLayout::kAlignment);
}

/// Where a wave's [rows, KV heads, MaxEntries()] floats begin.
constexpr int64_t GivenOffset(const AttentionSpec& spec) { return kChoosers * ChooserBytes(spec); }

constexpr int64_t GivenBytes(const AttentionSpec& spec, const SlotLayout& layout, int64_t rows) {
  const int64_t floats = rows * spec.num_kv_heads * MaxEntries(layout);
  return SlotLayout::RoundUp(floats * int64_t{sizeof(float)}, SlotLayout::kAlignment);
}

/// Of a layer's heads, which lie in a slot one behind the other.
constexpr int64_t CopyBytes(const SlotLayout& layout) {
  return layout.num_kv_heads * layout.head_bytes;
}

}  // namespace fmaserver::kernels::cuda
