// Memory for the sketches of archives. A step reads those of one KV head of one layer, group after
// group, and processors look ahead only where memory is read in a row. So groups share blocks, in
// which the sketches that one head has of all of them lie in a row:
//
//   block   [heads of all layers][kGroups][bytes of a head's sketches in a group]
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/cpu/huge_pages.h"

namespace fmaserver::kernels {

/// The sketches of one group: `heads` runs of `head_bytes`, `stride` apart. A plain value.
struct SketchColumn {
  std::byte* first = nullptr;
  int64_t heads = 0;
  int64_t head_bytes = 0;
  int64_t stride = 0;

  std::byte* Head(int64_t index) const { return first + index * stride; }
};

/// Columns that come and go: what was given back is used again, and its memory stays until the pool
/// is destroyed. Columns that are taken one after the other are neighbours where they can be.
/// Thread-safe.
class SketchPool {
 public:
  /// How many groups share a block.
  static constexpr int64_t kGroups = 64;

  /// Of columns.
  static constexpr int64_t StrideOf(int64_t head_bytes) { return kGroups * head_bytes; }

  /// Uninitialised; `first` is null when there is not enough memory.
  SketchColumn TryTake(int64_t heads, int64_t head_bytes);
  void Give(const SketchColumn& column);

 private:
  struct Block {
    BlockPart memory;
    uint64_t free = ~uint64_t{0};  // a bit for each column
  };
  /// Blocks of one shape.
  struct Blocks {
    std::vector<Block> all;
    int64_t next = 0;  // number of the column behind the one that was taken last
  };

  static bool FindFree(Blocks& blocks);
  static bool Grow(Blocks& blocks, int64_t bytes);

  std::mutex mutex_;
  std::map<std::pair<int64_t, int64_t>, Blocks> blocks_;  // by heads and head_bytes
};

}  // namespace fmaserver::kernels
