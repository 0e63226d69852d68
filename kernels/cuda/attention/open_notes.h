// Opened units: the scratch of one query and KV head, and the parameters of the kernels that use
// it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/open_scratch.h"
#include "kernels/cuda/attention/query.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// The scratch of one query and KV head.
class OpenNotes {
 public:
  FMA_DEVICE OpenNotes(const OpenScratch& at, const AttentionSpec& spec, const SlotLayout& layout,
                       std::byte* base)
      : at_(at), spec_(spec), layout_(layout), base_(base) {}

  /// `index` is of the units that it may open.
  FMA_DEVICE float* UnitScore(int64_t index) const { return At<float>(0) + index; }
  FMA_DEVICE int32_t* Unit(int64_t index) const { return At<int32_t>(at_.list_offset) + index; }
  FMA_DEVICE int32_t* Place(int64_t index) const { return At<int32_t>(at_.places_offset) + index; }

  /// Of the unit with this index in the list. `head` counts the KV head's query heads.
  FMA_DEVICE float* Largest(int64_t index, int head) const {
    return At<float>(at_.largest_offset) + index * spec_.QueriesPerKvHead() + head;
  }
  FMA_DEVICE float* Total(int64_t index, int head) const {
    return At<float>(at_.totals_offset) + index * spec_.QueriesPerKvHead() + head;
  }
  /// In the place of Total(), once the rest of the softmax is known: the weight of the whole unit.
  FMA_DEVICE float* Share(int64_t index, int head) const { return Total(index, head); }
  FMA_DEVICE float* TokenScore(int64_t index, int head, int64_t token) const {
    return At<float>(at_.tokens_offset) +
           (index * spec_.QueriesPerKvHead() + head) * spec_.open_size + token;
  }
  FMA_DEVICE float* Output(int64_t index, int head, int64_t channel) const {
    return At<float>(at_.outputs_offset) +
           (index * spec_.QueriesPerKvHead() + head) * layout_.padded_dim + channel;
  }

 private:
  template <typename T>
  FMA_DEVICE T* At(int64_t offset) const {
    return reinterpret_cast<T*>(base_ + offset);
  }

  const OpenScratch& at_;
  const AttentionSpec& spec_;
  const SlotLayout& layout_;
  std::byte* const base_;
};

/// What every kernel of opened units is given: rows of a launch, one for each decoded sequence or
/// those of a wave, and the scratch of each row and KV head, heads fastest.
struct OpenParameters {
  DeviceAttention attention;
  SlotLayout layout;
  const DecodeRow* rows = nullptr;  ///< of the launch
  const QueryBlock* blocks =
      nullptr;            ///< of a wave, whose rows they cut; null: each row is a block
  int64_t first_row = 0;  ///< what QueryBlock::first is for the first of `rows`
  int32_t layer = 0;
  const float* qkv = nullptr;  ///< [., QkvColumns()]
  std::byte* scratch = nullptr;
  const DeviceGroup* archive = nullptr;
  DeviceUnitCache unit_cache;
  std::byte* notes = nullptr;  ///< [rows, KV heads] of at.bytes; null: nothing is opened
  OpenScratch at = {};

  /// Rows of a block, which are of one sequence: [first, first + count) of the launch's.
  struct Rows {
    int64_t first;
    int count;
  };
  FMA_DEVICE Rows RowsOf(int64_t block) const {
    if (blocks == nullptr) return {block, 1};
    const QueryBlock* of = blocks + block;
    return {Load(&of->first) - first_row, Load(&of->rows)};
  }

  FMA_DEVICE OpenNotes Notes(int64_t row, int kv_head) const {
    return {at, attention.spec, layout,
            notes + (row * attention.spec.num_kv_heads + kv_head) * at.bytes};
  }
};

/// How queries meet opened units whose keys keep their places, where there are any. The others are
/// met in the form kFar.
FMA_DEVICE QueryForm PlacedForm(const AttentionSpec& spec) {
  return spec.FarIsRotated() ? QueryForm::kPlaced : QueryForm::kFar;
}

}  // namespace fmaserver::kernels::cuda
