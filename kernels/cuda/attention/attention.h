// The multilevel attention on the device: append to the cache, attend, close the completed groups.
//
// A step's segments are sorted once, on the host, into a plan. Segments of one row are decoded, one
// launch for all of them; longer ones are slices of prompts. The plan's lists go to the device with
// the step's data (DevicePlan), and every layer calls LaunchAttention with the same plan.
//
// With selected tokens a slice is cut into blocks inside fine groups, which go one after the other
// in waves, each with a block of every slice.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/runtime/runtime.h"
#include "kernels/host/slot_segment.h"

namespace fmaserver::kernels::cuda {

/// A tentative segment of selected tokens works on a copy of its slot's heads, made for each layer:
/// CopyBytes() from `slot` + HeadOffset(layer, 0) to `to`, in bytes of the scratch.
struct HeadCopy {
  std::byte* slot = nullptr;
  int64_t to = 0;
};

/// Where what a segment reports, its Segment::unit_weights or its Segment::attention_shares, is in
/// the step's reports, in floats.
struct Report {
  std::span<float> to;
  int64_t from = 0;
};

/// The step's work in host memory; each list and number becomes a member of DevicePlan.
struct AttentionPlan {
  /// Without `decodes`, segments of one row are treated as slices too; tentative ones always are.
  AttentionPlan(const AttentionSpec& spec, const SlotLayout& layout,
                std::span<const SlotSegment> step, bool decodes = true);

  std::vector<DecodeRow> decode;
  std::vector<PrefillSegment> segments;  ///< tentative ones last
  int64_t num_appended = 0;              ///< segments that are not
  std::vector<GroupTask> groups;
  std::vector<QueryBlock> blocks;
  std::vector<DecodeRow> rows;  ///< of the waves
  std::vector<Wave> waves;
  std::vector<HeadCopy> copies;
  std::vector<DeviceGroup> archive;
  std::vector<Report> reports;
  int64_t reported = 0;  ///< floats of all reports
  bool reports_units = false;
  bool reports_shares = false;
  int64_t open_scratch = 0;
  int64_t most_units = 0;     ///< a power of two, so that steps with the same graph differ seldom
  int64_t scratch_bytes = 0;  ///< of DevicePlan::scratch, aligned to SlotLayout::kAlignment

 private:
  /// Adds the archive of a segment, of which the step writes the last groups; returns its place, -1
  /// for one that opens no units.
  int64_t AddArchive(const AttentionSpec& spec, const SlotLayout& layout,
                     const SlotSegment& segment);
  void AddSlice(const AttentionSpec& spec, const SlotLayout& layout, const SlotSegment& segment);
  /// Returns the place of what is reported to `to`; -1: nothing is.
  int64_t AddReport(std::span<float> to);
  int64_t AddUnitReport(const AttentionSpec& spec, const SlotSegment& segment);
  int64_t AddShareReport(const SlotSegment& segment);
  /// Makes room in the scratch for what `rows` rows open at the same time.
  void AddOpenScratch(const AttentionSpec& spec, const SlotLayout& layout, int64_t rows);
  void AddWaves(const AttentionSpec& spec, const SlotLayout& layout,
                std::span<const SlotSegment> slices);
};

/// See Backend::Attend. qkv [n, QkvColumns()] and out [n, H*d] in device memory. It takes one
/// launch for all decode rows, six for all slices, whatever their number and length, one more where
/// heads are normed, and one more for either where rows report how they divide their attention; see
/// selected_tokens.h for those. Without data in `out` only the slots
/// change; `plan` then has no decode rows.
absl::Status LaunchAttention(Stream& stream, const DeviceAttention& attention,
                             const SlotLayout& layout, const DevicePlan& plan, int32_t layer,
                             const Matrix& qkv, const Matrix& out);

}  // namespace fmaserver::kernels::cuda
