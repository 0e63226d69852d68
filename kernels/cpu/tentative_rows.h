// The rows that tentative segments would append, kept until it is known how many of them their
// slots take.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/attention.h"

namespace fmaserver::kernels::cpu {

class TentativeRows {
 public:
  /// Forgets the kept rows, and allocates for the rows of `step`. RESOURCE_EXHAUSTED.
  absl::Status Begin(const AttentionStep& step);

  /// Keeps one layer's rows of `step`, the step that Begin() got.
  void Keep(const AttentionStep& step, const PackedAttention& weights, int32_t layer, Matrix qkv);

  /// See Backend::Commit; INVALID_ARGUMENT when `accepted` does not fit what is kept.
  absl::Status Commit(ThreadPool& pool, std::span<const int32_t> accepted,
                      std::span<AttentionScratch> scratch);

 private:
  Matrix RowsOf(int32_t layer) const;

  AttentionSpec spec_;
  SlotLayout layout_;
  std::vector<SlotSegment> segments_;            // first_row counts kept rows
  std::vector<const PackedAttention*> weights_;  // of each layer; null: it was not attended to
  AlignedArray<float> rows_;                     // [layers, kept rows, QkvColumns()]
  int64_t capacity_ = 0;                         // of rows_, in floats
  int64_t kept_ = 0;
};

}  // namespace fmaserver::kernels::cpu
