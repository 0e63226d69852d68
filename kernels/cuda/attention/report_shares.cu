#include "kernels/cuda/attention/report_shares.h"

#include "kernels/cuda/attention/report_shares_kernel.h"
#include "kernels/cuda/runtime/launch.h"

namespace fmaserver::kernels::cuda {
namespace {

template <typename Kernel>
absl::Status LaunchShareKernel(Stream& stream, int64_t items, const Kernel& kernel) {
  return Launch(stream,
                {.blocks_x = items * kernel.attention.spec.num_kv_heads,
                 .shared_bytes = ShareSums::SharedMemory(kernel.layout)},
                kernel);
}

}  // namespace

absl::Status LaunchShareReport(Stream& stream, const OpenParameters& parameters, int64_t count,
                               float* shares) {
  if (shares == nullptr) return absl::OkStatus();
  return WithCacheElement(parameters.layout.type, [&]<typename T>(T) {
    return LaunchShareKernel(stream, count, ReportSharesKernel<T>{parameters, shares});
  });
}

absl::Status LaunchShareReport(Stream& stream, const PrefillParameters& parameters) {
  const DevicePlan& plan = parameters.plan;
  if (plan.attention_shares == nullptr) return absl::OkStatus();
  return WithCacheElement(parameters.layout.type, [&]<typename T>(T) {
    return LaunchShareKernel(stream, plan.num_segments, ReportSliceSharesKernel<T>{parameters});
  });
}

}  // namespace fmaserver::kernels::cuda
