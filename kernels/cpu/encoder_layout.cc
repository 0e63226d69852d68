#include "kernels/cpu/encoder_layout.h"

#include <algorithm>

#include "kernels/cpu/attention.h"
#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels::cpu {
namespace {

int64_t Padded(int64_t count) { return SlotLayout::RoundUp(count, SlotLayout::kLane); }

}  // namespace

EncoderLayout::EncoderLayout(const AttentionSpec& spec, const EncoderPlan& plan, int threads)
    : dim(Padded(spec.head_dim)) {
  const Hierarchy& h = spec.hierarchy;
  const int64_t listed = int64_t{Hierarchy::kMostFarGroups} * h.rank;
  rows = std::min<int64_t>(kMaxBlockRows, h.group_size) * spec.QueriesPerKvHead();
  near = Padded(std::min<int64_t>(3 * int64_t{h.group_size}, plan.longest()));
  columns = spec.query_downsampling ? std::max(Padded(plan.levels() > 0 ? listed : 0), near)
                                    : Padded(listed * plan.levels()) + near;
  const auto take = [this](int64_t count) {
    const int64_t first = floats;
    floats += Padded(count);
    return first;
  };
  const bool rotates = spec.positions == PositionEmbedding::kRope;
  rotations = take(rotates ? plan.longest() * spec.head_dim : 0);
  keys = take(spec.num_kv_heads * plan.places() * dim);
  values = take(spec.num_kv_heads * plan.places() * dim);
  const int64_t asked = spec.query_downsampling ? spec.num_heads * plan.places() : 0;
  queries = take(asked * dim);
  masses = take(asked);
  scratch_floats = EncoderScratch::Floats(*this);
  scratch = take(threads * scratch_floats);
}

int64_t EncoderScratch::Floats(const EncoderLayout& at) {
  return (2 + at.columns + at.near + 2 * at.rows + kRowTile) * at.dim + at.rows * at.columns;
}

EncoderScratch::EncoderScratch(const EncoderLayout& layout, float* memory) {
  const auto take = [&memory](int64_t count) {
    float* const first = memory;
    memory += count;
    return first;
  };
  vector = take(layout.dim);
  rotation = take(layout.dim);
  keys = take(layout.columns * layout.dim);
  values = take(layout.near * layout.dim);
  near_queries = take(layout.rows * layout.dim);
  far_queries = take(layout.rows * layout.dim);
  scores = take(layout.rows * layout.columns);
  outputs = take(kRowTile * layout.dim);
}

}  // namespace fmaserver::kernels::cpu
