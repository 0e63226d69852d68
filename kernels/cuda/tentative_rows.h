// The rows that tentative segments would append, kept in device memory until it is known how many
// of them their slots take.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/runtime/runtime.h"
#include "kernels/host/slot_segment.h"

namespace fmaserver::kernels::cuda {

class TentativeRows {
 public:
  /// Forgets the kept rows, and allocates for the tentative rows of `step`; nothing that uses the
  /// old rows may still be running. RESOURCE_EXHAUSTED.
  absl::Status Begin(const AttentionSpec& spec, const SlotLayout& layout,
                     std::span<const SlotSegment> step);
  void Forget() { segments_.clear(); }

  /// Records copies of one layer's rows of `step`, the step that Begin() got.
  void Keep(std::span<const SlotSegment> step, const DeviceAttention& attention, int32_t layer,
            Matrix qkv, std::vector<Operation>& recorded);

  /// Forgets the segments and returns what their slots take; their rows are in the kept matrices.
  /// See Accepted().
  absl::StatusOr<std::vector<SlotSegment>> Take(std::span<const int32_t> accepted);

  /// Records operations that append to the slots; `plan` was made of the segments taken.
  void Append(const DevicePlan& plan, std::vector<Operation>& recorded) const;

  const AttentionSpec& spec() const { return spec_; }
  const SlotLayout& layout() const { return layout_; }

 private:
  Matrix RowsOf(int32_t layer) const;

  AttentionSpec spec_;
  SlotLayout layout_;
  std::vector<SlotSegment> segments_;       // first_row counts kept rows
  std::vector<DeviceAttention> attention_;  // of each layer; no heads: it was not attended to
  Memory rows_;                             // [layers, kept rows, QkvColumns()]
  int64_t kept_ = 0;
};

}  // namespace fmaserver::kernels::cuda
