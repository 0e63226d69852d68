#include "server/metrics/state_bytes.h"

namespace fmaserver::metrics {

StateBytes StateBytesOf(const kernels::SlotLayout& layout) {
  const kernels::Hierarchy& hierarchy = layout.hierarchy;
  const int64_t heads = int64_t{layout.num_layers} * layout.num_kv_heads;
  // A column is a key of d elements and a value of d elements; anything more is padding.
  const int64_t column = heads * 2 * layout.head_dim * kernels::SizeOf(layout.type);
  StateBytes bytes;
  bytes.near_field = column * 2 * hierarchy.group_size;
  bytes.sinks = column * hierarchy.sink_tokens;
  bytes.far = column * (layout.far_columns - hierarchy.sink_tokens);
  bytes.sums = heads * 2 * int64_t{hierarchy.num_levels} * hierarchy.rank * layout.head_dim *
               static_cast<int64_t>(sizeof(float));
  bytes.padding = layout.slot_bytes - bytes.near_field - bytes.sinks - bytes.far - bytes.sums;
  return bytes;
}

}  // namespace fmaserver::metrics
