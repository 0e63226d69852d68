#include "kernels/cuda/attention/selected_tokens.h"

#include <algorithm>

#include "kernels/cuda/attention/choose_groups_kernel.h"
#include "kernels/cuda/attention/decode_launch.h"
#include "kernels/cuda/attention/opened_units.h"
#include "kernels/cuda/attention/report_shares.h"
#include "kernels/cuda/attention/selected_rows_kernel.h"
#include "kernels/cuda/attention/selection_scratch.h"

namespace fmaserver::kernels::cuda {
namespace {

/// `blocks` may be null; see ChooseGroupsKernel.
template <typename T>
absl::Status LaunchChoice(Stream& stream, const PrefillParameters& parameters,
                          const DecodeRow* rows, const QueryBlock* blocks, int64_t count) {
  using Kernel = ChooseGroupsKernel<T>;
  const int64_t items = count * parameters.attention.spec.num_kv_heads;
  return Launch(stream,
                {.blocks_x = std::min(items, kChoosers),
                 .shared_bytes = Kernel::SharedMemory(parameters.layout)},
                Kernel{parameters.attention, parameters.layout, rows, blocks, count,
                       parameters.layer, parameters.plan.scratch});
}

template <typename T>
absl::Status LaunchRows(Stream& stream, const PrefillParameters& parameters,
                        const OpenParameters& opening, int64_t count, float* given) {
  return LaunchDecodeOf<T, true>(
      stream,
      {parameters.attention, parameters.layout, opening.rows, count, parameters.layer,
       parameters.qkv, parameters.out, parameters.plan.scratch, given, opening.notes, opening.at});
}

template <typename T>
absl::Status LaunchWave(Stream& stream, const PrefillParameters& parameters, const Wave& wave) {
  const DevicePlan& plan = parameters.plan;
  const AttentionSpec& spec = parameters.attention.spec;
  const QueryBlock* blocks = plan.blocks + wave.first_block;
  auto* given = reinterpret_cast<float*>(plan.scratch + GivenOffset(spec));
  absl::Status status;
  if (wave.chooses) {
    status.Update(LaunchChoice<T>(stream, parameters, plan.rows, blocks, wave.blocks));
  }
  const SelectedRowsParameters of_blocks = {
      parameters.attention, parameters.layout, plan.rows,   blocks,
      parameters.layer,     parameters.qkv,    plan.scratch};
  const int64_t items = wave.blocks * spec.num_kv_heads;
  using Append = AppendRowsKernel<T>;
  status.Update(Launch(stream,
                       {.blocks_x = items, .shared_bytes = Append::SharedMemory(parameters.layout)},
                       Append{of_blocks}));
  const OpenParameters opening =
      OpeningOf(parameters, plan.rows + wave.first_row, blocks, wave.first_row);
  status.Update(LaunchOpening(stream, opening, wave.rows, wave.blocks));
  status.Update(LaunchRows<T>(stream, parameters, opening, wave.rows, given));
  using Receive = ReceiveKernel<T>;
  status.Update(Launch(stream, {.blocks_x = items, .blocks_y = Receive::BlocksY(parameters.layout)},
                       Receive{of_blocks, given, wave.first_row}));
  status.Update(LaunchReport(stream, opening, wave.rows, plan.unit_weights));
  status.Update(LaunchShareReport(stream, opening, wave.rows, plan.attention_shares));
  status.Update(LaunchArchiving(stream, opening, wave.blocks));
  return status;
}

template <typename T>
absl::Status LaunchAs(Stream& stream, const PrefillParameters& parameters) {
  const DevicePlan& plan = parameters.plan;
  absl::Status status = LaunchChoice<T>(stream, parameters, plan.decode, nullptr, plan.decode_rows);
  const OpenParameters opening = OpeningOf(parameters, plan.decode, nullptr, 0);
  status.Update(LaunchOpening(stream, opening, plan.decode_rows, plan.decode_rows));
  status.Update(LaunchRows<T>(stream, parameters, opening, plan.decode_rows, nullptr));
  status.Update(LaunchReport(stream, opening, plan.decode_rows, plan.unit_weights));
  status.Update(LaunchShareReport(stream, opening, plan.decode_rows, plan.attention_shares));
  status.Update(LaunchArchiving(stream, opening, plan.decode_rows));
  for (int64_t i = 0; i < plan.num_waves && status.ok(); ++i) {
    status.Update(LaunchWave<T>(stream, parameters, plan.waves[i]));
  }
  return status;
}

}  // namespace

absl::Status LaunchSelectedTokens(Stream& stream, const PrefillParameters& parameters) {
  return WithCacheElement(parameters.layout.type,
                          [&]<typename T>(T) { return LaunchAs<T>(stream, parameters); });
}

}  // namespace fmaserver::kernels::cuda
