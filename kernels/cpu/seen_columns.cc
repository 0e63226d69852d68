#include "kernels/cpu/seen_columns.h"

#include <algorithm>

#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels::cpu {

void FindSeenColumns(std::span<const ColumnRun> runs, int64_t near_begin,
                     std::vector<ColumnStretch>& seen) {
  constexpr int64_t kLane = SlotLayout::kLane;
  seen.clear();
  for (const ColumnRun& run : runs) {
    if (run.count <= 0) continue;
    const int64_t end = SlotLayout::RoundUp(run.column + run.count, kLane);
    seen.push_back({run.column / kLane * kLane, end});
  }
  std::ranges::sort(seen, {}, &ColumnStretch::begin);
  size_t last = 0;
  for (size_t i = 1; i < seen.size(); ++i) {
    if (seen[i].begin <= seen[last].end && seen[i].begin != near_begin) {
      seen[last].end = std::max(seen[last].end, seen[i].end);
    } else {
      seen[++last] = seen[i];
    }
  }
  seen.resize(std::min(seen.size(), last + 1));
}

}  // namespace fmaserver::kernels::cpu
