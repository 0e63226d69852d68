#include "kernels/cuda/attention/prefill.h"

#include <type_traits>

#include "kernels/cuda/attention/block_attention_kernel.h"
#include "kernels/cuda/attention/prefill_commit_kernel.h"
#include "kernels/cuda/attention/prefill_summaries_kernel.h"
#include "kernels/cuda/attention/report_shares.h"
#include "kernels/cuda/attention/tensor_attention_kernel.h"
#include "kernels/cuda/runtime/launch.h"

namespace fmaserver::kernels::cuda {
namespace {

template <typename Kernel>
absl::Status LaunchEach(Stream& stream, const PrefillParameters& parameters, int64_t items,
                        int64_t blocks_y = 1, int64_t shared_bytes = 0) {
  return Launch(stream,
                {.blocks_x = items * parameters.attention.spec.num_kv_heads,
                 .blocks_y = blocks_y,
                 .shared_bytes = shared_bytes},
                Kernel{parameters});
}

template <typename T>
absl::Status LaunchSummaries(Stream& stream, const PrefillParameters& parameters) {
  const DevicePlan& plan = parameters.plan;
  const int levels = parameters.layout.hierarchy.num_levels;
  using PlaceTokens = PlaceTokensKernel<T>;
  absl::Status status = LaunchEach<PlaceTokens>(stream, parameters, plan.num_blocks, 1,
                                                PlaceTokens::SharedMemory(parameters.layout));
  status.Update(LaunchEach<SumTokensKernel<T>>(stream, parameters, plan.num_groups));
  if (parameters.attention.spec.downsampling == Downsampling::kHierarchical && levels > 1) {
    using Merge = MergeSummariesKernel<T>;
    status.Update(LaunchEach<Merge>(stream, parameters, plan.num_segments,
                                    Merge::BlocksY(parameters.layout)));
  }
  using PlaceSummaries = PlaceSummariesKernel<T>;
  status.Update(LaunchEach<PlaceSummaries>(stream, parameters, plan.num_segments,
                                           PlaceSummaries::BlocksY(parameters.layout)));
  return status;
}

template <typename T, int kQueries>
absl::Status LaunchBlockAttention(Stream& stream, const PrefillParameters& parameters) {
  using Kernel = BlockAttentionKernel<T, kQueries>;
  const int64_t queries =
      int64_t{QueryBlock::kMaxRows} * parameters.attention.spec.QueriesPerKvHead();
  return LaunchEach<Kernel>(stream, parameters, parameters.plan.num_blocks,
                            (queries + kQueries - 1) / kQueries,
                            Kernel::SharedMemory(parameters.layout));
}

template <typename T, int kDim>
absl::Status LaunchTensorAttention(Stream& stream, const PrefillParameters& parameters) {
  using Kernel = TensorAttentionKernel<T, kDim>;
  const int64_t queries =
      int64_t{QueryBlock::kMaxRows} * parameters.attention.spec.QueriesPerKvHead();
  return LaunchEach<Kernel>(stream, parameters, parameters.plan.num_blocks,
                            (queries + Kernel::kQueries - 1) / Kernel::kQueries,
                            Kernel::SharedMemory());
}

template <typename T>
absl::Status LaunchBlocks(Stream& stream, const PrefillParameters& parameters) {
  const int64_t dim = parameters.layout.padded_dim;
  if constexpr (!std::is_same_v<T, float>) {
    if (dim <= 64) return LaunchTensorAttention<T, 64>(stream, parameters);
    if (dim <= 128) return LaunchTensorAttention<T, 128>(stream, parameters);
  }
  constexpr int kWide = 512;  // channels; with so many, shared memory holds only a few queries
  return dim < kWide ? LaunchBlockAttention<T, 16>(stream, parameters)
                     : LaunchBlockAttention<T, 4>(stream, parameters);
}

template <typename T>
absl::Status LaunchAs(Stream& stream, const PrefillParameters& parameters) {
  absl::Status status = LaunchSummaries<T>(stream, parameters);
  if (parameters.out != nullptr) status.Update(LaunchBlocks<T>(stream, parameters));
  // Before slots lose the groups that rows see.
  status.Update(LaunchShareReport(stream, parameters));
  using Commit = PrefillCommitKernel<T>;
  status.Update(LaunchEach<Commit>(stream, parameters, parameters.plan.num_appended,
                                   Commit::BlocksY(parameters.layout)));
  return status;
}

}  // namespace

absl::Status LaunchPrefill(Stream& stream, const PrefillParameters& parameters) {
  return WithCacheElement(parameters.layout.type,
                          [&]<typename T>(T) { return LaunchAs<T>(stream, parameters); });
}

}  // namespace fmaserver::kernels::cuda
