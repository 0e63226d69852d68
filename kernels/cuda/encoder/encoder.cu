#include "kernels/cuda/encoder/encoder.h"

#include "kernels/cuda/attention/norm_heads.h"
#include "kernels/cuda/encoder/encoder_attention_kernel.h"
#include "kernels/cuda/encoder/encoder_places_kernel.h"
#include "kernels/cuda/encoder/encoder_summaries_kernel.h"
#include "kernels/cuda/runtime/launch.h"

namespace fmaserver::kernels::cuda {
namespace {

template <typename Kernel>
Kernel WithParameters(const EncoderParameters& parameters) {
  Kernel kernel;
  static_cast<EncoderParameters&>(kernel) = parameters;
  return kernel;
}

/// For `queries` queries of each group.
template <typename Kernel>
absl::Status LaunchQueries(Stream& stream, const EncoderParameters& parameters, int64_t queries,
                           int32_t at_once, int64_t shared_bytes) {
  auto kernel = WithParameters<Kernel>(parameters);
  kernel.at_once = at_once;
  return Launch(stream,
                {.blocks_x = parameters.count * parameters.attention.spec.num_kv_heads,
                 .blocks_y = (queries + at_once - 1) / at_once,
                 .shared_bytes = shared_bytes},
                kernel);
}

template <int kQueries, int kTile>
absl::Status LaunchQueriesOf(Stream& stream, const EncoderOperation& operation) {
  const EncoderParameters& parameters = operation.parameters;
  const AttentionSpec& spec = parameters.attention.spec;
  const int64_t heads = spec.QueriesPerKvHead();
  if (operation.step == EncoderStep::kShares) {
    using Shares = EncoderSharesKernel<kQueries, kTile>;
    return LaunchQueries<Shares>(stream, parameters, spec.hierarchy.rank * heads, kQueries,
                                 Shares::SharedMemory(spec));
  }
  using Blocks = EncoderBlocksKernel<kQueries, kTile>;
  return LaunchQueries<Blocks>(stream, parameters, spec.hierarchy.group_size * heads, kQueries,
                               Blocks::SharedMemory(spec, parameters.at.levels));
}

/// As many queries and keys as 99 KiB of shared memory hold, which every device has.
absl::Status LaunchAsking(Stream& stream, const EncoderOperation& operation) {
  const int32_t dim = operation.parameters.attention.spec.head_dim;
  if (dim <= 128) return LaunchQueriesOf<16, 32>(stream, operation);
  if (dim <= 512) return LaunchQueriesOf<8, 16>(stream, operation);
  return LaunchQueriesOf<4, 8>(stream, operation);
}

}  // namespace

absl::Status LaunchEncoder(Stream& stream, const EncoderOperation& operation) {
  const EncoderParameters& parameters = operation.parameters;
  const AttentionSpec& spec = parameters.attention.spec;
  switch (operation.step) {
    case EncoderStep::kNorms:
      return LaunchNormHeads(stream, parameters.attention,
                             {parameters.qkv + parameters.first * spec.QkvColumns(),
                              parameters.count, spec.QkvColumns()});
    case EncoderStep::kSummaries:
      return Launch(
          stream, {.blocks_x = parameters.count, .blocks_y = EncoderSummariesKernel::BlocksY(spec)},
          WithParameters<EncoderSummariesKernel>(parameters));
    case EncoderStep::kPlaces:
      return Launch(stream, {.blocks_x = parameters.count},
                    WithParameters<EncoderPlacesKernel>(parameters));
    case EncoderStep::kKeys: {
      const auto kernel = WithParameters<EncoderKeysKernel>(parameters);
      return Launch(stream, {.blocks_x = kernel.Blocks()}, kernel);
    }
    case EncoderStep::kShares:
    case EncoderStep::kBlocks:
      return LaunchAsking(stream, operation);
    case EncoderStep::kAngles:
      break;
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::kernels::cuda
