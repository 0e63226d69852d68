// Rows of models that select tokens: where their caches are, and who receives what they give.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/visible_columns.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// `kMayBeCopies`: the rows may be ones of a tentative segment, which works on a copy, and may open
/// units.
template <bool kMayBeCopies = true>
FMA_DEVICE DecodeRow LoadRow(const DecodeRow* row) {
  DecodeRow loaded = {Load(&row->slot), Load(&row->position), Load(&row->row)};
  if constexpr (kMayBeCopies) {
    loaded.copy = Load(&row->copy);
    loaded.archive = Load(&row->archive);
  }
  return loaded;
}

/// The head block that a row works on.
FMA_DEVICE std::byte* HeadOf(const SlotLayout& layout, const DecodeRow& row, std::byte* scratch,
                             int32_t layer, int kv_head) {
  if (row.copy >= 0) return scratch + row.copy + layout.HeadOffset(0, kv_head);
  return row.slot + layout.HeadOffset(layer, kv_head);
}

/// Whether a token gets the weight that the query at `position` gives it.
FMA_DEVICE bool Receives(const AttentionSpec& spec, const VisibleKey& key, int64_t position) {
  if (key.level == VisibleKey::kNear) return position - key.position >= spec.select_lag;
  return key.level != VisibleKey::kSink;
}

}  // namespace fmaserver::kernels::cuda
