#include "kernels/cuda/sampling/sampling.h"

#include "kernels/cuda/runtime/launch.h"
#include "kernels/cuda/sampling/sampling_kernel.h"

namespace fmaserver::kernels::cuda {

absl::Status LaunchSample(Stream& stream, const SampleOperation& operation) {
  SamplingKernel kernel;
  kernel.logits = operation.logits.data;
  kernel.filtered = operation.filtered;
  kernel.rows = operation.rows;
  kernel.edits = operation.edits;
  kernel.chosen = operation.chosen;
  kernel.top = operation.chosen + operation.logits.rows;
  kernel.vocab = static_cast<int32_t>(operation.logits.cols);
  kernel.top_stride = operation.top_stride;
  return Launch(stream,
                {.blocks_x = operation.logits.rows, .shared_bytes = SamplingKernel::kSharedBytes},
                kernel);
}

}  // namespace fmaserver::kernels::cuda
