#include "kernels/cpu/tentative_rows.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace fmaserver::kernels::cpu {

absl::Status TentativeRows::Begin(const AttentionStep& step) {
  segments_ = TentativeOf(step.segments);
  if (segments_.empty()) return absl::OkStatus();
  kept_ = segments_.back().first_row + segments_.back().rows;
  spec_ = step.spec;
  layout_ = step.layout;
  weights_.assign(static_cast<size_t>(layout_.num_layers), nullptr);
  const int64_t floats = layout_.num_layers * kept_ * spec_.QkvColumns();
  if (floats <= capacity_) return absl::OkStatus();
  rows_ = TryAllocateAligned<float>(floats);
  capacity_ = rows_ == nullptr ? 0 : floats;
  if (capacity_ > 0) return absl::OkStatus();
  segments_.clear();
  return absl::ResourceExhaustedError(
      absl::StrCat("no memory for ", kept_, " tentative rows of ", layout_.num_layers, " layers"));
}

Matrix TentativeRows::RowsOf(int32_t layer) const {
  const int64_t columns = spec_.QkvColumns();
  return {rows_.get() + layer * kept_ * columns, kept_, columns};
}

void TentativeRows::Keep(const AttentionStep& step, const PackedAttention& weights, int32_t layer,
                         Matrix qkv) {
  if (segments_.empty()) return;
  weights_[layer] = &weights;
  float* to = RowsOf(layer).data;
  for (const SlotSegment& segment : step.segments) {
    if (!segment.tentative) continue;
    to = std::copy_n(qkv.Row(segment.first_row), segment.rows * qkv.cols, to);
  }
}

absl::Status TentativeRows::Commit(ThreadPool& pool, std::span<const int32_t> accepted,
                                   std::span<AttentionScratch> scratch) {
  auto segments = Accepted(std::exchange(segments_, {}), accepted);
  if (!segments.ok()) return segments.status();
  AttentionStep step(spec_, layout_, *std::move(segments));
  for (int32_t layer = 0; layer < layout_.num_layers; ++layer) {
    if (weights_[layer] == nullptr) continue;
    Attend(pool, step, *weights_[layer], layer, RowsOf(layer), /*out=*/{}, scratch);
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::kernels::cpu
