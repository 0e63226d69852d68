#include "kernels/cuda/attention.h"

#include "kernels/cuda/decode_attention_kernel.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/prefill.h"

namespace fmaserver::cuda {
namespace {

/// Shared memory that a block can have on every device that is supported (sm_86 gives the least).
constexpr int64_t kMaxSharedBytes = 99 * 1024;

template <typename T, int kHeads>
absl::Status LaunchDecodeAs(Stream& stream, const DeviceAttention& attention,
                            const SlotLayout& layout, const DevicePlan& plan, int32_t layer,
                            const Matrix& qkv, const Matrix& out) {
  using Kernel = DecodeAttentionKernel<T, kHeads>;
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

/// Takes as many query heads at once as there are and shared memory allows.
template <typename T>
absl::Status LaunchDecode(Stream& stream, const DeviceAttention& attention,
                          const SlotLayout& layout, const DevicePlan& plan, int32_t layer,
                          const Matrix& qkv, const Matrix& out) {
  const int heads = attention.spec.QueriesPerKvHead();
  const auto fits = [](int64_t bytes) { return bytes <= kMaxSharedBytes; };
  if (heads > 4 && fits(DecodeAttentionKernel<T, 8>::SharedMemory(layout))) {
    return LaunchDecodeAs<T, 8>(stream, attention, layout, plan, layer, qkv, out);
  }
  if (heads > 2 && fits(DecodeAttentionKernel<T, 4>::SharedMemory(layout))) {
    return LaunchDecodeAs<T, 4>(stream, attention, layout, plan, layer, qkv, out);
  }
  if (heads > 1 && fits(DecodeAttentionKernel<T, 2>::SharedMemory(layout))) {
    return LaunchDecodeAs<T, 2>(stream, attention, layout, plan, layer, qkv, out);
  }
  return LaunchDecodeAs<T, 1>(stream, attention, layout, plan, layer, qkv, out);
}

}  // namespace

absl::Status LaunchAttention(Stream& stream, const DeviceAttention& attention,
                             const SlotLayout& layout, const DevicePlan& plan, int32_t layer,
                             const Matrix& qkv, const Matrix& out) {
  if (layout.dtype == DType::kF16) {
    return absl::InvalidArgumentError("cache slots of F16; allowed: F32, BF16");
  }
  absl::Status status =
      layout.dtype == DType::kF32
          ? LaunchDecode<float>(stream, attention, layout, plan, layer, qkv, out)
          : LaunchDecode<BFloat16>(stream, attention, layout, plan, layer, qkv, out);
  if (plan.num_segments == 0) return status;
  status.Update(LaunchPrefill(stream, {attention, layout, plan, layer, qkv.data, out.data}));
  return status;
}

}  // namespace fmaserver::cuda
