#include "kernels/cpu/encoder_attention.h"

#include <numeric>
#include <vector>

#include "kernels/cpu/encoder_places.h"
#include "kernels/cpu/pointwise.h"
#include "kernels/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/encoder_attention.cc"
#include "hwy/foreach_target.h"  // must come first

#include "hwy/highway.h"
#include "kernels/cpu/encoder_blocks-inl.h"
#include "kernels/cpu/encoder_shares-inl.h"
#include "kernels/cpu/encoder_summaries-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

void MakeSummaries(const EncoderWork& work, int level, EncoderPlan::Group group, int64_t column,
                   EncoderScratch& scratch) {
  GroupSummary(work, level, group).Make(column, scratch);
}

int64_t AttendShares(const EncoderWork& work, int level, int64_t kv_head, EncoderPlan::Group group,
                     EncoderScratch& scratch) {
  return EncoderShares(work, level, kv_head, group, scratch).Attend();
}

int64_t AttendBlock(const EncoderWork& work, int64_t kv_head, EncoderPlan::Group block,
                    EncoderScratch& scratch) {
  return EncoderBlock(work, kv_head, block, scratch).Attend();
}

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fmaserver::kernels::cpu {
namespace {

HWY_EXPORT(MakeSummaries);
HWY_EXPORT(AttendShares);
HWY_EXPORT(AttendBlock);

/// Level by level, because a level may be made of the one below.
void Summarise(ThreadPool& pool, const EncoderWork& work) {
  const AttentionSpec& spec = work.spec();
  const int64_t first = spec.query_downsampling ? 0 : spec.num_heads;
  const int64_t columns = spec.num_heads + 2 * int64_t{spec.num_kv_heads} - first;
  for (int level = 1; level <= work.plan.levels(); ++level) {
    pool.ParallelFor(work.plan.Groups(level) * columns, [&](int64_t task, int worker) {
      EncoderScratch scratch = work.Scratch(worker);
      HWY_DYNAMIC_DISPATCH(MakeSummaries)
      (work, level, work.plan.GroupAt(level, task / columns), first + task % columns, scratch);
    });
  }
}

}  // namespace

int64_t AttendBothWays(ThreadPool& pool, const PackedAttention& weights,
                       std::span<const int64_t> lengths, Matrix qkv, float* memory, Matrix out) {
  const AttentionSpec& spec = weights.spec;
  const EncoderPlan plan(spec, lengths);
  const EncoderLayout layout(spec, plan, pool.threads());
  const EncoderWork work{weights, plan, layout, memory, qkv, out};
  NormHeads(pool, weights.query_norm, {0, spec.num_heads, spec.head_dim}, qkv);
  NormHeads(pool, weights.key_norm, {spec.num_heads, spec.num_kv_heads, spec.head_dim}, qkv);
  Summarise(pool, work);
  PlaceSummaries(pool, work);
  RotateKeys(pool, work);

  const int64_t heads = spec.num_kv_heads;
  std::vector<int64_t> scores(static_cast<size_t>(pool.threads()));
  for (int level = plan.levels(); spec.query_downsampling && level >= 1; --level) {
    pool.ParallelFor(plan.Groups(level) * heads, [&](int64_t task, int worker) {
      EncoderScratch scratch = work.Scratch(worker);
      scores[worker] += HWY_DYNAMIC_DISPATCH(AttendShares)(
          work, level, task % heads, plan.GroupAt(level, task / heads), scratch);
    });
  }
  pool.ParallelFor(plan.Blocks() * heads, [&](int64_t task, int worker) {
    EncoderScratch scratch = work.Scratch(worker);
    scores[worker] +=
        HWY_DYNAMIC_DISPATCH(AttendBlock)(work, task % heads, plan.Block(task / heads), scratch);
  });
  return std::accumulate(scores.begin(), scores.end(), int64_t{0});
}

}  // namespace fmaserver::kernels::cpu
#endif  // HWY_ONCE
