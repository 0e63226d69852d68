#include "kernels/cuda/attention/attention.h"

#include "kernels/cuda/attention/decode_launch.h"
#include "kernels/cuda/attention/prefill.h"
#include "kernels/cuda/attention/selected_tokens.h"

namespace fmaserver::kernels::cuda {

absl::Status LaunchAttention(Stream& stream, const DeviceAttention& attention,
                             const SlotLayout& layout, const DevicePlan& plan, int32_t layer,
                             const Matrix& qkv, const Matrix& out) {
  const PrefillParameters parameters = {attention, layout, plan, layer, qkv.data, out.data};
  if (attention.spec.Selects()) return LaunchSelectedTokens(stream, parameters);
  const DecodeLaunch decode = {attention, layout,   plan.decode, plan.decode_rows,
                               layer,     qkv.data, out.data};
  absl::Status status = layout.type == CacheType::kF32
                            ? LaunchDecodeOf<float, false>(stream, decode)
                            : LaunchDecodeOf<BFloat16, false>(stream, decode);
  if (plan.num_segments == 0) return status;
  status.Update(LaunchPrefill(stream, parameters));
  return status;
}

}  // namespace fmaserver::kernels::cuda
