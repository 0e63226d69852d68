// Selected tokens, slices of prompts: what comes before and after the rows of a wave attend
// (decode_attention_kernel.h).
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/head_cache.h"
#include "kernels/cuda/attention/prefill_head.h"
#include "kernels/cuda/attention/selected_rows.h"
#include "kernels/cuda/attention/selection_scratch.h"
#include "kernels/cuda/attention/token_channels.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// The parameters of both kernels. Blocks: (query block of the wave, KV head).
struct SelectedRowsParameters {
  DeviceAttention attention;
  SlotLayout layout;
  const DecodeRow* rows = nullptr;     ///< DevicePlan's
  const QueryBlock* blocks = nullptr;  ///< the wave's
  int32_t layer = 0;
  const float* qkv = nullptr;  ///< [., QkvColumns()]
  std::byte* scratch = nullptr;
};

/// Appends the tokens of a block of rows.
template <typename T>
struct AppendRowsKernel : SelectedRowsParameters {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "append_rows";

  static constexpr int64_t SharedMemory(const SlotLayout& layout) {
    return TokenOfWarp::SharedMemory(layout, kThreads);
  }

  FMA_DEVICE void operator()() const {
    const auto [item, kv_head] = ThisBlock(attention.spec);
    const QueryBlock block = LoadBlock(blocks + item);
    const TokenOfWarp token(layout);
    for (int i = WarpIndex(); i < block.rows; i += kThreads / kWarpSize) {
      const DecodeRow row = LoadRow(rows + block.first + i);
      const HeadCache<T> cache(attention, layout, HeadOf(layout, row, scratch, layer, kv_head));
      const float* key = qkv + row.row * attention.spec.QkvColumns() +
                         int64_t{attention.spec.num_heads + kv_head} * layout.head_dim;
      token.Fill(attention, row.position, key,
                 key + int64_t{attention.spec.num_kv_heads} * layout.head_dim);
      const int64_t near = layout.NearColumn(row.position);
      const auto store = [&](bool is_key, bool is_sink, const auto& channel) {
        cache.StoreVectorAt(is_key, is_sink ? row.position : near, channel);
      };
      StoreToken(attention, row.position, layout.hierarchy.sink_tokens, token, store);
      if (LaneIndex() == 0) Store(cache.Received(near), 0.0);
    }
  }
};

/// Adds what the rows of a block gave, row by row; y: the entries of their list, kThreads at a
/// time.
template <typename T>
struct ReceiveKernel : SelectedRowsParameters {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "receive";

  const float* given = nullptr;  ///< [rows of the wave, KV heads, MaxEntries()]
  int64_t first_row = 0;         ///< of the wave

  static constexpr int64_t BlocksY(const SlotLayout& layout) {
    return (MaxEntries(layout) + kThreads - 1) / kThreads;
  }

  FMA_DEVICE void operator()() const {
    const auto [item, kv_head] = ThisBlock(attention.spec);
    const QueryBlock block = LoadBlock(blocks + item);
    const DecodeRow first = LoadRow(rows + block.first);
    const VisibleColumns visible(attention.spec, layout,
                                 layout.hierarchy.FineGroup(first.position));
    const auto entry = static_cast<int>(BlockIndexY()) * kThreads + ThreadIndex();
    if (entry >= visible.Count(first.position + block.rows)) return;
    const VisibleKey key = visible.At(entry);
    if (key.level == VisibleKey::kSink) return;
    const HeadCache<T> cache(attention, layout, HeadOf(layout, first, scratch, layer, kv_head));
    double* received = cache.Received(ColumnOf(layout, key));
    double sum = Load(received);
    const int64_t stride = attention.spec.num_kv_heads * MaxEntries(layout);
    const float* from = given + (block.first - first_row) * stride + kv_head * MaxEntries(layout);
    for (int64_t row = 0; row < block.rows; ++row) {
      if (!Receives(attention.spec, key, first.position + row)) continue;
      sum += static_cast<double>(Load(from + row * stride + entry));
    }
    Store(received, sum);
  }
};

}  // namespace fmaserver::kernels::cuda
