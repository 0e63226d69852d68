#include <algorithm>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/prefill_scratch.h"

namespace fmaserver::kernels::cuda {

AttentionPlan::AttentionPlan(const AttentionSpec& spec, const SlotLayout& layout,
                             std::span<const Segment> step) {
  int64_t row = 0;
  for (const Segment& segment : step) {
    if (segment.rows == 1) {
      decode.push_back({segment.slot, segment.position, row});
    } else if (segment.rows > 1) {
      AddPrefill(spec, layout, segment, row);
    }
    row += segment.rows;
  }
}

void AttentionPlan::AddPrefill(const AttentionSpec& spec, const SlotLayout& layout,
                               const Segment& segment, int64_t first_row) {
  const auto index = static_cast<int32_t>(segments.size());
  segments.push_back({segment.slot, segment.position, first_row, segment.rows, scratch_bytes});
  const PrefillScratch scratch(layout, segment.position, segment.rows);
  scratch_bytes += scratch.head_bytes() * spec.num_kv_heads;

  const Hierarchy& h = spec.hierarchy;
  const int64_t end = segment.position + segment.rows;
  const int fed = spec.downsampling == Downsampling::kHierarchical ? 1 : h.num_levels;
  for (int level = 1; level <= fed; ++level) {
    const int64_t tokens = h.GroupTokens(level);
    for (int64_t group = segment.position / tokens; group <= (end - 1) / tokens; ++group) {
      groups.push_back({group, index, level});
    }
  }
  for (int64_t row = 0; row < segment.rows;) {
    const int64_t rest_of_group = h.group_size - (segment.position + row) % h.group_size;
    const int64_t rows =
        std::min({segment.rows - row, rest_of_group, int64_t{QueryBlock::kMaxRows}});
    blocks.push_back({row, static_cast<int32_t>(rows), index});
    row += rows;
  }
}

}  // namespace fmaserver::kernels::cuda
