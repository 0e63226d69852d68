#include "kernels/cuda/tentative_rows.h"

#include <utility>

namespace fmaserver::kernels::cuda {

absl::Status TentativeRows::Begin(const AttentionSpec& spec, const SlotLayout& layout,
                                  std::span<const SlotSegment> step) {
  segments_ = TentativeOf(step);
  if (segments_.empty()) return absl::OkStatus();
  spec_ = spec;
  layout_ = layout;
  kept_ = segments_.back().first_row + segments_.back().rows;
  attention_.assign(static_cast<size_t>(layout.num_layers), {});
  const int64_t floats = layout.num_layers * kept_ * spec.QkvColumns();
  absl::Status status =
      GrowMemory(rows_, Memory::Kind::kDevice, floats * static_cast<int64_t>(sizeof(float)))
          .status();
  if (!status.ok()) segments_.clear();
  return status;
}

Matrix TentativeRows::RowsOf(int32_t layer) const {
  const int64_t columns = spec_.QkvColumns();
  return {rows_.As<float>() + layer * kept_ * columns, kept_, columns};
}

void TentativeRows::Keep(std::span<const SlotSegment> step, const DeviceAttention& attention,
                         int32_t layer, Matrix qkv, std::vector<Operation>& recorded) {
  if (segments_.empty()) return;
  attention_[layer] = attention;
  float* to = RowsOf(layer).data;
  for (const SlotSegment& segment : step) {
    if (!segment.tentative) continue;
    recorded.push_back(CopyOperation{{qkv.Row(segment.first_row), segment.rows, qkv.cols}, to});
    to += segment.rows * qkv.cols;
  }
}

absl::StatusOr<std::vector<SlotSegment>> TentativeRows::Take(std::span<const int32_t> accepted) {
  return Accepted(std::exchange(segments_, {}), accepted);
}

void TentativeRows::Append(const DevicePlan& plan, std::vector<Operation>& recorded) const {
  for (int32_t layer = 0; layer < layout_.num_layers; ++layer) {
    const DeviceAttention& attention = attention_[layer];
    if (attention.spec.num_heads == 0) continue;
    recorded.push_back(AttendOperation{.attention = attention,
                                       .layout = layout_,
                                       .plan = plan,
                                       .layer = layer,
                                       .qkv = RowsOf(layer),
                                       .out = {}});
  }
}

}  // namespace fmaserver::kernels::cuda
