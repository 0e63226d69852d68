#include "kernels/cuda/attention/attention.h"

#include "kernels/cuda/attention/decode_attention_kernel.h"
#include "kernels/cuda/attention/norm_heads_kernel.h"
#include "kernels/cuda/attention/prefill.h"
#include "kernels/cuda/runtime/launch.h"

namespace fmaserver::kernels::cuda {
namespace {

/// The shared memory that a block can have on every supported device (sm_86 has the least).
constexpr int64_t kMaxSharedBytes = 99 * 1024;

template <typename Kernel>
absl::Status LaunchDecodeAs(Stream& stream, const DeviceAttention& attention,
                            const SlotLayout& layout, const DevicePlan& plan, int32_t layer,
                            const Matrix& qkv, const Matrix& out) {
  Kernel kernel;
  kernel.attention = attention;
  kernel.layout = layout;
  kernel.rows = plan.decode;
  kernel.layer = layer;
  kernel.qkv = qkv.data;
  kernel.out = out.data;
  return Launch(stream,
                {.blocks_x = plan.decode_rows * attention.spec.num_kv_heads,
                 .shared_bytes = Kernel::SharedMemory(layout)},
                kernel);
}

/// Takes as many query heads at once as there are, as far as shared memory allows.
template <typename T, bool kWide>
absl::Status LaunchDecodeHeads(Stream& stream, const DeviceAttention& attention,
                               const SlotLayout& layout, const DevicePlan& plan, int32_t layer,
                               const Matrix& qkv, const Matrix& out) {
  const auto launch = [&]<typename Kernel>(Kernel) {
    return LaunchDecodeAs<Kernel>(stream, attention, layout, plan, layer, qkv, out);
  };
  const int heads = attention.spec.QueriesPerKvHead();
  using Eight = DecodeAttentionKernel<T, 8, kWide>;
  using Four = DecodeAttentionKernel<T, 4, kWide>;
  using Two = DecodeAttentionKernel<T, 2, kWide>;
  if (heads > 4 && Eight::SharedMemory(layout) <= kMaxSharedBytes) return launch(Eight());
  if (heads > 2 && Four::SharedMemory(layout) <= kMaxSharedBytes) return launch(Four());
  if (heads > 1 && Two::SharedMemory(layout) <= kMaxSharedBytes) return launch(Two());
  return launch(DecodeAttentionKernel<T, 1, kWide>());
}

template <typename T>
absl::Status LaunchDecode(Stream& stream, const DeviceAttention& attention,
                          const SlotLayout& layout, const DevicePlan& plan, int32_t layer,
                          const Matrix& qkv, const Matrix& out) {
  const bool wide = layout.head_dim * sizeof(T) % 16 == 0;
  return wide ? LaunchDecodeHeads<T, true>(stream, attention, layout, plan, layer, qkv, out)
              : LaunchDecodeHeads<T, false>(stream, attention, layout, plan, layer, qkv, out);
}

absl::Status LaunchNormHeads(Stream& stream, const DeviceAttention& attention, const Matrix& qkv) {
  const AttentionSpec& spec = attention.spec;
  NormHeadsKernel kernel;
  kernel.x = qkv.data;
  kernel.query_weight = attention.query_norm;
  kernel.key_weight = attention.key_norm;
  kernel.rows = qkv.rows;
  kernel.cols = qkv.cols;
  kernel.query_heads = spec.num_heads;
  kernel.heads = spec.num_heads + spec.num_kv_heads;
  kernel.dim = spec.head_dim;
  kernel.eps = attention.norm_eps;
  return Launch(stream, {.blocks_x = kernel.Blocks()}, kernel);
}

}  // namespace

absl::Status LaunchAttention(Stream& stream, const DeviceAttention& attention,
                             const SlotLayout& layout, const DevicePlan& plan, int32_t layer,
                             const Matrix& qkv, const Matrix& out) {
  absl::Status status;
  if (attention.query_norm != nullptr) status = LaunchNormHeads(stream, attention, qkv);
  status.Update(layout.type == CacheType::kF32
                    ? LaunchDecode<float>(stream, attention, layout, plan, layer, qkv, out)
                    : LaunchDecode<BFloat16>(stream, attention, layout, plan, layer, qkv, out));
  if (plan.num_segments == 0) return status;
  status.Update(LaunchPrefill(stream, {attention, layout, plan, layer, qkv.data, out.data}));
  return status;
}

}  // namespace fmaserver::kernels::cuda
