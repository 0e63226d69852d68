#include "kernels/cuda/attention/attention.h"

#include "kernels/cuda/attention/decode_launch.h"
#include "kernels/cuda/attention/norm_heads.h"
#include "kernels/cuda/attention/opened_units.h"
#include "kernels/cuda/attention/prefill.h"
#include "kernels/cuda/attention/report_shares.h"
#include "kernels/cuda/attention/selected_tokens.h"

namespace fmaserver::kernels::cuda {

absl::Status LaunchAttention(Stream& stream, const DeviceAttention& attention,
                             const SlotLayout& layout, const DevicePlan& plan, int32_t layer,
                             const Matrix& qkv, const Matrix& out) {
  absl::Status status = LaunchNormHeads(stream, attention, qkv);
  const PrefillParameters parameters = {attention, layout, plan, layer, qkv.data, out.data};
  if (attention.spec.Selects()) {
    status.Update(LaunchSelectedTokens(stream, parameters));
    return status;
  }
  // Before rows close the groups that they see.
  status.Update(LaunchShareReport(stream, OpeningOf(parameters, plan.decode, nullptr, 0),
                                  plan.decode_rows, plan.attention_shares));
  const DecodeLaunch decode = {attention, layout,   plan.decode, plan.decode_rows,
                               layer,     qkv.data, out.data};
  status.Update(WithCacheElement(
      layout.type, [&]<typename T>(T) { return LaunchDecodeOf<T, false>(stream, decode); }));
  if (plan.num_segments == 0) return status;
  status.Update(LaunchPrefill(stream, parameters));
  return status;
}

}  // namespace fmaserver::kernels::cuda
