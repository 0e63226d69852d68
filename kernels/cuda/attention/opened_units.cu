#include "kernels/cuda/attention/opened_units.h"

#include <algorithm>

#include "kernels/cuda/attention/archive_units_kernel.h"
#include "kernels/cuda/attention/attend_units_kernel.h"
#include "kernels/cuda/attention/choose_units_kernel.h"
#include "kernels/cuda/attention/fetch_units_kernel.h"
#include "kernels/cuda/attention/place_units_kernel.h"
#include "kernels/cuda/attention/report_units_kernel.h"
#include "kernels/cuda/attention/scan_sketches_kernel.h"
#include "kernels/cuda/runtime/launch.h"

namespace fmaserver::kernels::cuda {
namespace {

/// Blocks that share the units of a row and a KV head.
constexpr int64_t kMaxScanBlocks = 64;
constexpr int64_t kUnitsPerScanBlock = 16;

template <typename T>
absl::Status LaunchScan(Stream& stream, const OpenParameters& parameters, int64_t blocks) {
  using Kernel = ScanSketchesKernel<T>;
  const AttentionSpec& spec = parameters.attention.spec;
  const int64_t blocks_y =
      std::clamp<int64_t>(parameters.at.units / kUnitsPerScanBlock, 1, kMaxScanBlocks);
  return Launch(stream,
                {.blocks_x = blocks * spec.num_kv_heads,
                 .blocks_y = blocks_y,
                 .shared_bytes = Kernel::SharedMemory(spec, parameters.layout)},
                Kernel{parameters, blocks_y});
}

/// Whether a unit's tokens and channels fill pieces of 16 bytes.
bool InWholePieces(const OpenParameters& parameters) {
  const AttentionSpec& spec = parameters.attention.spec;
  const int64_t piece = 16 / SizeOf(parameters.layout.archive_type);
  return spec.open_size % piece == 0 && spec.head_dim % piece == 0;
}

/// Where the units of `count` rows lie. Those of slices, and those that the attention does not read
/// in whole pieces, are on the device then, as far as there is room.
absl::Status LaunchPlacing(Stream& stream, const OpenParameters& parameters, int64_t count) {
  const AttentionSpec& spec = parameters.attention.spec;
  const bool fetches = parameters.blocks != nullptr || !InWholePieces(parameters);
  absl::Status status = Launch(
      stream, {.blocks_x = spec.num_kv_heads, .shared_bytes = PlaceUnitsKernel::SharedMemory()},
      PlaceUnitsKernel{parameters, count, fetches});
  if (!fetches) return status;
  const LaunchShape units = {.blocks_x = count * spec.num_kv_heads,
                             .blocks_y = parameters.at.opened};
  const int64_t bytes = parameters.layout.Archive(spec).UnitTokenBytes();
  using Four = Vec<uint32_t, 4>;
  status.Update(bytes % int64_t{sizeof(Four)} == 0
                    ? Launch(stream, units, FetchUnitsKernel<Four>{parameters})
                    : Launch(stream, units, FetchUnitsKernel<uint16_t>{parameters}));
  return status;
}

template <typename T, bool kWide>
absl::Status LaunchUnits(Stream& stream, const OpenParameters& parameters, int64_t count) {
  using Kernel = AttendUnitsKernel<T, kWide>;
  const AttentionSpec& spec = parameters.attention.spec;
  return Launch(stream,
                {.blocks_x = count * spec.num_kv_heads,
                 .blocks_y = parameters.at.opened,
                 .shared_bytes = Kernel::SharedMemory(spec)},
                Kernel{parameters});
}

template <typename T>
absl::Status LaunchUnitsOf(Stream& stream, const OpenParameters& parameters, int64_t count) {
  return InWholePieces(parameters) ? LaunchUnits<T, true>(stream, parameters, count)
                                   : LaunchUnits<T, false>(stream, parameters, count);
}

template <typename T, typename A>
absl::Status LaunchArchivingOf(Stream& stream, const OpenParameters& parameters, int64_t blocks) {
  using Kernel = ArchiveUnitsKernel<T, A>;
  const AttentionSpec& spec = parameters.attention.spec;
  return Launch(stream,
                {.blocks_x = blocks * spec.num_kv_heads,
                 .blocks_y = spec.hierarchy.group_size / spec.open_size,
                 .shared_bytes = Kernel::SharedMemory(spec)},
                Kernel{parameters});
}

}  // namespace

OpenParameters OpeningOf(const PrefillParameters& parameters, const DecodeRow* rows,
                         const QueryBlock* blocks, int64_t first_row) {
  const DevicePlan& plan = parameters.plan;
  OpenParameters opening = {.attention = parameters.attention,
                            .layout = parameters.layout,
                            .rows = rows,
                            .blocks = blocks,
                            .first_row = first_row,
                            .layer = parameters.layer,
                            .qkv = parameters.qkv,
                            .scratch = plan.scratch,
                            .archive = plan.archive,
                            .unit_cache = plan.unit_cache};
  if (plan.most_units == 0) return opening;
  opening.notes = plan.scratch + plan.open_scratch;
  opening.at = OpenScratch(parameters.attention.spec, parameters.layout, plan.most_units);
  return opening;
}

absl::Status LaunchOpening(Stream& stream, const OpenParameters& parameters, int64_t count,
                           int64_t blocks) {
  if (parameters.notes == nullptr) return absl::OkStatus();
  const AttentionSpec& spec = parameters.attention.spec;
  absl::Status status = WithCacheElement(parameters.layout.type, [&]<typename T>(T) {
    return LaunchScan<SketchNumber<T>>(stream, parameters, blocks);
  });
  status.Update(Launch(
      stream,
      {.blocks_x = count * spec.num_kv_heads, .shared_bytes = ChooseUnitsKernel::SharedMemory()},
      ChooseUnitsKernel{parameters}));
  if (parameters.unit_cache.sets > 0) status.Update(LaunchPlacing(stream, parameters, count));
  status.Update(WithCacheElement(parameters.layout.archive_type, [&]<typename T>(T) {
    return LaunchUnitsOf<T>(stream, parameters, count);
  }));
  return status;
}

absl::Status LaunchReport(Stream& stream, const OpenParameters& parameters, int64_t count,
                          float* unit_weights) {
  if (parameters.notes == nullptr || unit_weights == nullptr) return absl::OkStatus();
  return Launch(stream, {.blocks_x = count * parameters.attention.spec.num_kv_heads},
                ReportUnitsKernel{parameters, unit_weights});
}

absl::Status LaunchArchiving(Stream& stream, const OpenParameters& parameters, int64_t blocks) {
  if (parameters.notes == nullptr) return absl::OkStatus();
  return WithCacheElement(parameters.layout.type, [&]<typename T>(T) {
    return WithCacheElement(parameters.layout.archive_type, [&]<typename A>(A) {
      if constexpr (CanArchive(kCacheTypeOf<T>, kCacheTypeOf<A>)) {
        return LaunchArchivingOf<T, A>(stream, parameters, blocks);
      } else {
        return absl::InternalError("no archive has larger numbers than the slot beside it");
      }
    });
  });
}

}  // namespace fmaserver::kernels::cuda
