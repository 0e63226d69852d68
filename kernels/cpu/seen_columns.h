// Which columns of a head block the rows of a block see.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fmaserver::kernels::cpu {

/// `count` consecutive columns that some row of the block sees: where their weights are in a row of
/// scores, and which columns of the value matrix they multiply.
struct ColumnRun {
  int64_t score = 0;
  int64_t column = 0;
  int64_t count = 0;
};

/// Columns [begin, end).
struct ColumnStretch {
  int64_t begin = 0;
  int64_t end = 0;

  constexpr bool operator==(const ColumnStretch&) const = default;
};

/// Sets `seen` to what `runs` reach, widened to multiples of SlotLayout::kLane, in ascending order
/// and apart: only far and near field, which begins at `near_begin`, may touch each other.
void FindSeenColumns(std::span<const ColumnRun> runs, int64_t near_begin,
                     std::vector<ColumnStretch>& seen);

}  // namespace fmaserver::kernels::cpu
