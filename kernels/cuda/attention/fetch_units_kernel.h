// Opened units: brings what rows miss from the host's memory into the lines that
// place_units_kernel.h has found for it.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/archive_head.h"
#include "kernels/cuda/attention/open_notes.h"
#include "kernels/cuda/attention/selected_rows.h"
#include "kernels/cuda/attention/unit_cache.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// Blocks: (row, KV head), and y: the place of the unit in the row's list. Piece: what is copied at
/// once, of which a unit has whole ones.
template <typename Piece>
struct FetchUnitsKernel : OpenParameters {
  static constexpr int kThreads = 128;
  static constexpr const char* kName = "fetch_units";

  FMA_DEVICE void operator()() const {
    const AttentionSpec& spec = attention.spec;
    const auto kv_head = static_cast<int>(BlockIndex() % spec.num_kv_heads);
    const int64_t i = BlockIndex() / spec.num_kv_heads;
    const DecodeRow row = LoadRow(rows + i);
    if (row.slot == nullptr || row.archive < 0) return;
    if (BlockIndexY() >= OpenedUnits(spec, row.position)) return;
    const OpenNotes notes = Notes(i, kv_head);
    const UnitPlace place(Load(notes.Place(BlockIndexY())));
    if (!place.Fills()) return;
    SyncThreads();
    const int64_t unit = Load(notes.Unit(BlockIndexY()));
    const ArchiveHead head(spec, layout, archive + row.archive, nullptr, layer, kv_head);
    const int units = head.UnitsPerGroup();
    const auto* from =
        reinterpret_cast<const Piece*>(head.Tokens(unit / units, static_cast<int>(unit % units)));
    auto* to = reinterpret_cast<Piece*>(unit_cache.lines + place.Line() * unit_cache.line_bytes);
    const auto pieces =
        static_cast<int>(layout.Archive(spec).UnitTokenBytes() / int64_t{sizeof(Piece)});
    for (int piece = ThreadIndex(); piece < pieces; piece += kThreads) {
      Store(to + piece, Load(from + piece));
    }
    if (ThreadIndex() == 0) {
      Store(notes.Place(BlockIndexY()), UnitPlace::InLine(place.Line()).code());
    }
  }
};

}  // namespace fmaserver::kernels::cuda
