// Opened units: what the last rows of segments gave to each unit, for those who want to know.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/open_notes.h"
#include "kernels/cuda/attention/selected_rows.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// Adds the weights of the units that a row opened, once it has been attended to. Blocks: (row, KV
/// head).
struct ReportUnitsKernel : OpenParameters {
  static constexpr int kThreads = 128;
  static constexpr const char* kName = "report_units";

  float* unit_weights = nullptr;  ///< DevicePlan's

  FMA_DEVICE void operator()() const {
    const AttentionSpec& spec = attention.spec;
    const int64_t i = BlockIndex() / spec.num_kv_heads;
    const auto kv_head = static_cast<int>(BlockIndex() % spec.num_kv_heads);
    const DecodeRow row = LoadRow(rows + i);
    if (row.slot == nullptr || row.archive < 0) return;
    const int64_t first = Load(&rows[i].unit_weights);
    if (first < 0) return;
    // Of all groups that the row's archive has after it.
    const ArchiveLayout layout_of = layout.Archive(spec);
    const int64_t groups = layout.hierarchy.FineGroup(row.position + 1) - 1;
    float* sums =
        unit_weights + first + kv_head * (groups > 0 ? groups : 0) * layout_of.UnitsPerGroup();
    const OpenNotes notes = Notes(i, kv_head);
    for (int place = ThreadIndex(); place < OpenedUnits(spec, row.position); place += kThreads) {
      float* sum = sums + Load(notes.Unit(place));
      float weight = Load(sum);
      for (int head = 0; head < spec.QueriesPerKvHead(); ++head) {
        weight += Load(notes.Share(place, head));
      }
      Store(sum, weight);
    }
  }
};

}  // namespace fmaserver::kernels::cuda
