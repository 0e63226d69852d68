// Selected tokens: chooses the groups that come into view, before their first token is appended.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/group_choice.h"
#include "kernels/cuda/attention/head_cache.h"
#include "kernels/cuda/attention/selected_rows.h"
#include "kernels/cuda/attention/selection_scratch.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// Up to kChoosers blocks share the items, pairs of a row and a KV head; hardly any row is the
/// first of a fine group, and the others need nothing.
template <typename T>
struct ChooseGroupsKernel {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "choose_groups";

  DeviceAttention attention;
  SlotLayout layout;
  const DecodeRow* rows = nullptr;
  const QueryBlock* blocks = nullptr;  ///< those whose first rows are meant; null: every row is
  int64_t count = 0;                   ///< of blocks or rows
  int32_t layer = 0;
  std::byte* scratch = nullptr;  ///< DevicePlan's

  static constexpr int64_t SharedMemory(const SlotLayout& layout) {
    return GroupChoice<T>::SharedMemory(layout);
  }

  FMA_DEVICE void operator()() const {
    const int heads = attention.spec.num_kv_heads;
    for (int64_t item = BlockIndex(); item < count * heads; item += BlockCount()) {
      const DecodeRow row = RowOf(item / heads);
      if (row.slot == nullptr || !layout.hierarchy.CompletesGroup(1, row.position)) continue;
      const HeadCache<T> cache(attention, layout,
                               HeadOf(layout, row, scratch, layer, static_cast<int>(item % heads)));
      auto* matrix =
          reinterpret_cast<double*>(scratch + BlockIndex() * ChooserBytes(attention.spec));
      const int64_t elements =
          int64_t{layout.head_dim} * (layout.head_dim + layout.hierarchy.group_size);
      auto* novelty = reinterpret_cast<float*>(matrix + elements);
      GroupChoice<T>(attention, layout, cache, SharedArena(), matrix, novelty)
          .ChooseGroups(row.position);
    }
  }

 private:
  FMA_DEVICE DecodeRow RowOf(int64_t i) const {
    return LoadRow(rows + (blocks == nullptr ? i : Load(&blocks[i].first)));
  }
};

}  // namespace fmaserver::kernels::cuda
