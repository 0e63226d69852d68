#include "kernels/host/encoder_plan.h"

#include <algorithm>

namespace fmaserver::kernels {

EncoderPlan::EncoderPlan(const AttentionSpec& spec, std::span<const int64_t> lengths)
    : hierarchy_(spec.hierarchy),
      averages_(spec.downsampling == Downsampling::kAverage),
      longest_(std::ranges::max(lengths)),
      at_{std::ssize(lengths), hierarchy_.VisibleLevels(longest_)},
      numbers_(static_cast<size_t>(at_.Size())) {
  for (int64_t i = 0; i < at_.sequences; ++i) {
    numbers_[at_.FirstRow(i + 1)] = numbers_[at_.FirstRow(i)] + lengths[i];
    for (int level = 0; level <= at_.levels; ++level) {
      const bool sees = level <= hierarchy_.VisibleLevels(lengths[i]);
      const int64_t groups = hierarchy_.GroupsWithTokens(std::max(level, 1), lengths[i]);
      numbers_[at_.Count(level, i + 1)] = numbers_[at_.Count(level, i)] + (sees ? groups : 0);
    }
  }
  for (int level = 1; level <= at_.levels; ++level) {
    numbers_[at_.FirstPlace(level + 1)] =
        numbers_[at_.FirstPlace(level)] + Groups(level) * hierarchy_.rank;
  }
}

EncoderPlan::Group EncoderPlan::GroupAt(int level, int64_t number) const {
  const int64_t* const counts = &numbers_[at_.Count(level, 0)];
  const int64_t* const after = std::upper_bound(counts, counts + at_.sequences + 1, number);
  const int64_t sequence = after - counts - 1;
  return {sequence, number - counts[sequence]};
}

void EncoderPlan::List(int level, int64_t sequence, int64_t fine_group,
                       std::vector<SummaryRun>& runs) const {
  const int64_t length = Length(sequence);
  const int64_t groups = hierarchy_.GroupsWithTokens(level, length);
  for (const GroupRange& seen : {Hierarchy::FarGroups(level, fine_group).Existing().Below(groups),
                                 Hierarchy::FarGroupsAfter(level, fine_group).Below(groups)}) {
    const int64_t count = CountSummaries(hierarchy_, averages_, level, seen, length);
    if (count > 0) runs.push_back({level, Place(level, sequence, seen.first), count});
  }
}

}  // namespace fmaserver::kernels
