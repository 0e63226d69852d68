#include "kernels/cpu/encoder_plan.h"

#include <algorithm>

#include "kernels/cpu/attention.h"
#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels::cpu {
namespace {

int64_t Padded(int64_t count) { return SlotLayout::RoundUp(count, SlotLayout::kLane); }

}  // namespace

EncoderPlan::EncoderPlan(const AttentionSpec& spec, std::span<const int64_t> lengths)
    : hierarchy_(spec.hierarchy),
      averages_(spec.downsampling == Downsampling::kAverage),
      first_rows_{0} {
  const Hierarchy& h = hierarchy_;
  for (const int64_t length : lengths) {
    first_rows_.push_back(first_rows_.back() + length);
    longest_ = std::max(longest_, length);
  }
  for (int level = 0; level <= h.VisibleLevels(longest_); ++level) {
    std::vector<int64_t>& counts = counts_.emplace_back(1, 0);
    for (const int64_t length : lengths) {
      const bool sees = level <= h.VisibleLevels(length);
      counts.push_back(counts.back() + (sees ? h.GroupsWithTokens(std::max(level, 1), length) : 0));
    }
  }
  first_places_.assign(2, 0);
  for (int level = 1; level <= levels(); ++level) {
    first_places_.push_back(first_places_.back() + Groups(level) * h.rank);
  }
}

EncoderPlan::Group EncoderPlan::Find(const std::vector<int64_t>& counts, int64_t number) {
  const auto after = std::upper_bound(counts.begin(), counts.end(), number);
  const int64_t sequence = after - counts.begin() - 1;
  return {sequence, number - counts[sequence]};
}

void EncoderPlan::List(int level, int64_t sequence, int64_t fine_group,
                       std::vector<SummaryRun>& runs) const {
  const Hierarchy& h = hierarchy_;
  const int64_t length = Length(sequence);
  const int64_t groups = h.GroupsWithTokens(level, length);
  for (const GroupRange& seen : {Hierarchy::FarGroups(level, fine_group).Existing().Below(groups),
                                 Hierarchy::FarGroupsAfter(level, fine_group).Below(groups)}) {
    int64_t count = (seen.end - seen.first) * h.rank;
    if (averages_) count = std::min(count, h.ShareOf(level, length - 1) + 1 - seen.first * h.rank);
    if (count > 0) runs.push_back({level, Place(level, sequence, seen.first), count});
  }
}

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
