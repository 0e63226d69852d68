// Launches of the decode attention, which there are many kinds of. For .cu files.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/attention/decode_attention_kernel.h"
#include "kernels/cuda/runtime/launch.h"

namespace fmaserver::kernels::cuda {

/// What a launch needs; see DecodeAttentionKernel.
struct DecodeLaunch {
  DeviceAttention attention;
  SlotLayout layout;
  const DecodeRow* rows = nullptr;
  int64_t count = 0;  ///< of rows
  int32_t layer = 0;
  const float* qkv = nullptr;
  float* out = nullptr;
  std::byte* scratch = nullptr;
  float* given = nullptr;
  std::byte* notes = nullptr;
  OpenScratch open = {};
};

/// The shared memory that a block can have on every supported device (sm_86 has the least).
inline constexpr int64_t kMaxSharedBytes = 99 * 1024;

template <typename Kernel>
absl::Status LaunchDecodeAs(Stream& stream, const DecodeLaunch& launch) {
  Kernel kernel;
  kernel.attention = launch.attention;
  kernel.layout = launch.layout;
  kernel.rows = launch.rows;
  kernel.layer = launch.layer;
  kernel.qkv = launch.qkv;
  kernel.out = launch.out;
  kernel.scratch = launch.scratch;
  kernel.given = launch.given;
  kernel.notes = launch.notes;
  kernel.open = launch.open;
  return Launch(stream,
                {.blocks_x = launch.count * launch.attention.spec.num_kv_heads,
                 .shared_bytes = Kernel::SharedMemory(launch.layout)},
                kernel);
}

/// Takes as many query heads at once as there are, as far as shared memory allows.
template <typename T, bool kWide, bool kSelects>
absl::Status LaunchDecodeHeads(Stream& stream, const DecodeLaunch& launch) {
  const int heads = launch.attention.spec.QueriesPerKvHead();
  const auto fits = [&]<typename Kernel>(Kernel) {
    return Kernel::SharedMemory(launch.layout) <= kMaxSharedBytes;
  };
  using Eight = DecodeAttentionKernel<T, 8, kWide, kSelects>;
  using Four = DecodeAttentionKernel<T, 4, kWide, kSelects>;
  using Two = DecodeAttentionKernel<T, 2, kWide, kSelects>;
  using One = DecodeAttentionKernel<T, 1, kWide, kSelects>;
  if (heads > 4 && fits(Eight())) return LaunchDecodeAs<Eight>(stream, launch);
  if (heads > 2 && fits(Four())) return LaunchDecodeAs<Four>(stream, launch);
  if (heads > 1 && fits(Two())) return LaunchDecodeAs<Two>(stream, launch);
  return LaunchDecodeAs<One>(stream, launch);
}

template <typename T, bool kSelects>
absl::Status LaunchDecodeOf(Stream& stream, const DecodeLaunch& launch) {
  using Wide = DecodeAttentionKernel<T, 1, true, kSelects>;
  const bool wide = launch.layout.head_dim % Wide::kWideElements == 0;
  return wide ? LaunchDecodeHeads<T, true, kSelects>(stream, launch)
              : LaunchDecodeHeads<T, false, kSelects>(stream, launch);
}

}  // namespace fmaserver::kernels::cuda
