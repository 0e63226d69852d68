#include "server/metrics/state_bytes.h"

namespace fmaserver::metrics {
namespace {

/// Of one KV head of one layer.
int64_t SumBytes(const kernels::SlotLayout& layout) {
  const kernels::Hierarchy& hierarchy = layout.hierarchy;
  const int64_t far = layout.GroupsKept() * hierarchy.num_levels * hierarchy.rank;
  if (layout.selects) {
    const int64_t received = 2 * int64_t{hierarchy.group_size} + far;
    return received * int64_t{sizeof(double)} + far * int64_t{sizeof(int64_t) + sizeof(float)};
  }
  return 2 * int64_t{hierarchy.num_levels} * hierarchy.rank * layout.head_dim *
         int64_t{sizeof(float)};
}

}  // namespace

StateBytes StateBytesOf(const kernels::SlotLayout& layout) {
  const kernels::Hierarchy& hierarchy = layout.hierarchy;
  const int64_t heads = int64_t{layout.num_layers} * layout.num_kv_heads;
  // A column is a key of d elements and a value of d elements, with their scales; anything more is
  // padding.
  const int64_t column = heads * 2 * kernels::VectorBytes(layout.type, layout.head_dim);
  StateBytes bytes;
  bytes.near_field = column * 2 * hierarchy.group_size;
  bytes.sinks = column * hierarchy.sink_tokens;
  bytes.far = column * layout.GroupsKept() * hierarchy.num_levels * hierarchy.rank;
  bytes.sums = heads * SumBytes(layout);
  bytes.padding = layout.slot_bytes - bytes.near_field - bytes.sinks - bytes.far - bytes.sums;
  return bytes;
}

}  // namespace fmaserver::metrics
