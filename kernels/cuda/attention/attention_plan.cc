#include <algorithm>

#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/attention/prefill_scratch.h"

namespace fmaserver::kernels::cuda {

AttentionPlan::AttentionPlan(const AttentionSpec& spec, const SlotLayout& layout,
                             std::span<const SlotSegment> step, bool decodes) {
  for (const SlotSegment& segment : step) {
    if (segment.tentative || segment.rows == 0) continue;
    if (decodes && segment.rows == 1) {
      decode.push_back({segment.slot, segment.position, segment.first_row});
    } else {
      AddSlice(spec, layout, segment);
    }
  }
  num_appended = static_cast<int64_t>(segments.size());
  for (const SlotSegment& segment : step) {
    if (segment.tentative && segment.rows > 0) AddSlice(spec, layout, segment);
  }
}

void AttentionPlan::AddSlice(const AttentionSpec& spec, const SlotLayout& layout,
                             const SlotSegment& segment) {
  const auto index = static_cast<int32_t>(segments.size());
  segments.push_back(
      {segment.slot, segment.position, segment.first_row, segment.rows, scratch_bytes});
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
