#include "kernels/cpu/encoder_attention.h"

#include <numeric>
#include <vector>

#include "kernels/cpu/encoder_places.h"
#include "kernels/cpu/pointwise.h"
#include "kernels/cpu/simd.h"
#include "kernels/host/encoder_phases.h"

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

/// Does tasks, divided among the threads of a pool.
class EncoderTasksOfPool {
 public:
  EncoderTasksOfPool(ThreadPool& pool, const EncoderWork& work)
      : pool_(pool), work_(work), spec_(work.spec()), scores_(pool.threads()) {}

  void Run(const EncoderTasks& tasks) {
    switch (tasks.step) {
      case EncoderStep::kNorms:
        return Norm(tasks);
      case EncoderStep::kSummaries:
        return Summarise(tasks);
      case EncoderStep::kPlaces:
        return ForGroups(tasks, 1, [this, &tasks](auto group, auto, auto& scratch, int) {
          PlaceSummaries(work_, tasks.level, group, scratch.rotation);
        });
      case EncoderStep::kAngles:
        return pool_.ParallelFor(tasks.count, [this, &tasks](int64_t i, int) {
          const int64_t position = tasks.first + i;
          work_.weights.rotary->Fill(static_cast<double>(position), work_.Rotation(position));
        });
      case EncoderStep::kKeys:
        return ForGroups(tasks, 1,
                         [this](auto group, auto, auto&, int) { RotateKeys(work_, group); });
      case EncoderStep::kShares:
        return ForGroups(tasks, spec_.num_kv_heads,
                         [this, &tasks](auto group, auto head, auto& scratch, int worker) {
                           scores_[worker] += HWY_DYNAMIC_DISPATCH(AttendShares)(
                               work_, tasks.level, head, group, scratch);
                         });
      case EncoderStep::kBlocks:
        return ForGroups(
            tasks, spec_.num_kv_heads, [this](auto group, auto head, auto& scratch, int worker) {
              scores_[worker] += HWY_DYNAMIC_DISPATCH(AttendBlock)(work_, head, group, scratch);
            });
    }
  }

  /// Computed against summaries.
  int64_t scores() const { return std::accumulate(scores_.begin(), scores_.end(), int64_t{0}); }

 private:
  /// Calls body(group, part, scratch, worker) for every group and each of so many parts of it.
  template <typename Body>
  void ForGroups(const EncoderTasks& tasks, int64_t parts, const Body& body) {
    pool_.ParallelFor(tasks.count * parts, [&](int64_t i, int worker) {
      EncoderScratch scratch = work_.Scratch(worker);
      body(work_.plan.GroupAt(tasks.level, tasks.first + i / parts), i % parts, scratch, worker);
    });
  }

  void Norm(const EncoderTasks& tasks) {
    const Matrix rows = {work_.qkv.Row(tasks.first), tasks.count, work_.qkv.cols};
    const int64_t dim = spec_.head_dim;
    NormHeads(pool_, work_.weights.query_norm, {0, spec_.num_heads, dim}, rows);
    NormHeads(pool_, work_.weights.key_norm, {spec_.num_heads, spec_.num_kv_heads, dim}, rows);
  }

  void Summarise(const EncoderTasks& tasks) {
    const int64_t first = spec_.query_downsampling ? 0 : spec_.num_heads;
    const int64_t columns = spec_.num_heads + 2 * int64_t{spec_.num_kv_heads} - first;
    ForGroups(tasks, columns, [this, &tasks, first](auto group, auto column, auto& scratch, int) {
      HWY_DYNAMIC_DISPATCH(MakeSummaries)(work_, tasks.level, group, first + column, scratch);
    });
  }

  ThreadPool& pool_;
  const EncoderWork& work_;
  const AttentionSpec& spec_;
  std::vector<int64_t> scores_;  // of each thread
};

}  // namespace

EncoderPiece AttendBothWays(ThreadPool& pool, const PackedAttention& weights, int64_t rows,
                            BothWays& work) {
  const EncoderPlan plan(weights.spec, work.lengths);
  const EncoderLayout layout(weights.spec, plan, pool.threads());
  auto* const memory = reinterpret_cast<float*>(work.workspace->data);
  const EncoderWork layer{weights, plan, layout, memory, work.qkv, work.out};
  EncoderTasksOfPool tasks(pool, layer);
  const int64_t done = RunPiece(weights.spec, plan, weights.query_norm.weight != nullptr, rows,
                                work, [&tasks](const EncoderTasks& some) { tasks.Run(some); });
  return {done, tasks.scores()};
}

}  // namespace fmaserver::kernels::cpu
#endif  // HWY_ONCE
