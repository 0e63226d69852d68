// How the last rows of segments divide their attention, for those who want to know. These kernels
// run beside those that attend, which do not know of them.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/head_cache.h"
#include "kernels/cuda/attention/open_notes.h"
#include "kernels/cuda/attention/opened_part.h"
#include "kernels/cuda/attention/prefill_head.h"
#include "kernels/cuda/attention/selected_rows.h"
#include "kernels/cuda/attention/share_sums.h"
#include "kernels/cuda/attention/visible_columns.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// Where the shares of a layer and KV head begin in those of a segment, which begin at `first`.
FMA_DEVICE int64_t PlaceOfShares(const AttentionSpec& spec, int64_t first, int32_t layer,
                                 int kv_head) {
  const int64_t head = int64_t{layer} * spec.num_kv_heads + kv_head;
  return first + head * AttentionParts(spec.hierarchy).Count();
}

/// Of rows of a launch: all that they see but their own tokens is in their slots. Blocks: (row, KV
/// head). T: the slot's element type.
template <typename T>
struct ReportSharesKernel : OpenParameters {
  static constexpr int kThreads = ShareSums::kThreads;
  static constexpr const char* kName = "report_shares";

  float* shares = nullptr;  ///< DevicePlan's

  FMA_DEVICE void operator()() const {
    const AttentionSpec& spec = attention.spec;
    const auto [i, kv_head] = ThisBlock(spec);
    const DecodeRow row = LoadRow(rows + i);
    if (row.slot == nullptr) return;
    const int64_t first = Load(&rows[i].shares);
    if (first < 0) return;
    const HeadCache<T> cache(attention, layout, HeadOf(layout, row, scratch, layer, kv_head));
    const bool opens = notes != nullptr && row.archive >= 0;
    const int count = opens ? OpenedUnits(spec, row.position) : 0;
    const OpenNotes of_units = Notes(i, kv_head);
    const OpenedPart opened(spec, of_units, count);
    const auto find = [&](const VisibleKey& key) -> FoundKey<T> {
      const int64_t column = ColumnOf(layout, key);
      const bool may_be_opened = count > 0 && key.level > 0;
      if (may_be_opened && opened.PlaceOf(Load(cache.Position(column))) >= 0) return {};
      return {cache.KeyAt(column, 0), cache.KeyScale(column)};
    };
    const auto of_opened = [&](int head) {
      float share = 0;
      for (int place = ThreadIndex(); place < count; place += kThreads) {
        share += Load(of_units.Share(place, head));
      }
      return share;
    };
    const float* input = qkv + row.row * spec.QkvColumns();
    ShareSums(attention, layout, input, row.position, kv_head)
        .AddTo<T>(shares + PlaceOfShares(spec, first, layer, kv_head), find, of_opened);
  }
};

/// Of the last row of each slice. Blocks: (segment, KV head).
template <typename T>
struct ReportSliceSharesKernel : PrefillParameters {
  static constexpr int kThreads = ShareSums::kThreads;
  static constexpr const char* kName = "report_slice_shares";

  FMA_DEVICE void operator()() const {
    const auto [segment, kv_head] = ThisBlock(attention.spec);
    const int64_t first = Load(&plan.segments[segment].shares);
    if (first < 0) return;
    const PrefillHead<T> head(*this, segment, kv_head);
    const auto find = [&](const VisibleKey& key) -> FoundKey<T> {
      const KeySource<T> source = head.Find(key);
      return {source.key, source.KeyScale()};
    };
    const auto of_opened = [](int) { return 0.0F; };
    ShareSums(attention, layout, head.Query(head.rows() - 1, 0), head.end() - 1, kv_head)
        .AddTo<T>(plan.attention_shares + PlaceOfShares(attention.spec, first, layer, kv_head),
                  find, of_opened);
  }
};

}  // namespace fmaserver::kernels::cuda
