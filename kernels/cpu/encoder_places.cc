#include "kernels/cpu/encoder_places.h"

#include <algorithm>

#include "kernels/host/attention.h"

namespace fmaserver::kernels::cpu {
namespace {

/// The tokens of share `r` of a group, at least 1: nobody sees the average of none.
int64_t TokensOfShare(const EncoderWork& work, int level, EncoderPlan::Group group, int r) {
  const Hierarchy& h = work.spec().hierarchy;
  const int64_t width = h.TokensPerSummary(level);
  const int64_t first = (group.index * h.rank + r) * width;
  return std::clamp<int64_t>(work.plan.Length(group.sequence) - first, 1, width);
}

/// Places summary `r` of a group, of every head. `rotation` has room for one.
void PlaceShare(const EncoderWork& work, int level, EncoderPlan::Group group, int r,
                float* rotation) {
  const AttentionSpec& spec = work.spec();
  const Rotary* const rotary = spec.FarIsRotated() ? work.weights.rotary.get() : nullptr;
  if (rotary != nullptr)
    rotary->Fill(spec.hierarchy.SummaryCentre(level, group.index, r), rotation);
  const bool averages = spec.downsampling == Downsampling::kAverage;
  const int64_t tokens = averages ? TokensOfShare(work, level, group, r) : 1;
  const float share = 1.0F / static_cast<float>(tokens);
  const auto multiply = [&work](float* x, float factor) {
    for (int64_t c = 0; c < work.layout.dim; ++c) x[c] *= factor;
  };
  const auto place = [&](float* x, float factor) {
    multiply(x, factor);
    if (rotary != nullptr) rotary->Apply(rotation, x, x);
  };
  const int64_t at = work.plan.Place(level, group.sequence, group.index) + r;
  for (int32_t head = 0; head < spec.num_kv_heads; ++head) {
    place(work.KeySummary(head, at), share);
    multiply(work.ValueSummary(head, at), share);
  }
  if (!spec.query_downsampling) return;
  const float scale = share * QueryScale(spec);
  for (int32_t head = 0; head < spec.num_heads; ++head) place(work.QuerySummary(head, at), scale);
}

}  // namespace

void PlaceSummaries(const EncoderWork& work, int level, EncoderPlan::Group group, float* rotation) {
  for (int r = 0; r < work.spec().hierarchy.rank; ++r) PlaceShare(work, level, group, r, rotation);
}

void RotateKeys(const EncoderWork& work, EncoderPlan::Group block) {
  const int64_t m = work.spec().hierarchy.group_size;
  const int64_t first = work.plan.FirstRow(block.sequence);
  const int64_t end = std::min((block.index + 1) * m, work.plan.Length(block.sequence));
  for (int64_t position = block.index * m; position < end; ++position) {
    for (int32_t head = 0; head < work.spec().num_kv_heads; ++head) {
      float* const key = work.Vector(first + position, work.KeyColumn(head));
      work.weights.rotary->Apply(work.Rotation(position), key, key);
    }
  }
}

}  // namespace fmaserver::kernels::cpu
