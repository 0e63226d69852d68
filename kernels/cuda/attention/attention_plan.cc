#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

#include "kernels/cuda/archive_group.h"
#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/attention/open_scratch.h"
#include "kernels/cuda/attention/prefill_scratch.h"
#include "kernels/cuda/attention/selection_scratch.h"

namespace fmaserver::kernels::cuda {
namespace {

/// How many of a segment's rows from `row` on lie in one fine group and so in one block.
int64_t BlockRows(const Hierarchy& h, const SlotSegment& segment, int64_t row) {
  const int64_t rest_of_group = h.group_size - (segment.position + row) % h.group_size;
  return std::min({segment.rows - row, rest_of_group, int64_t{QueryBlock::kMaxRows}});
}

}  // namespace

AttentionPlan::AttentionPlan(const AttentionSpec& spec, const SlotLayout& layout,
                             std::span<const SlotSegment> step, bool decodes) {
  std::vector<SlotSegment> slices;
  for (const SlotSegment& segment : step) {
    if (segment.tentative || segment.rows == 0) continue;
    if (decodes && segment.rows == 1) {
      decode.push_back({.slot = segment.slot,
                        .position = segment.position,
                        .row = segment.first_row,
                        .archive = AddArchive(spec, layout, segment),
                        .unit_weights = AddUnitReport(spec, segment),
                        .shares = AddShareReport(segment)});
    } else {
      slices.push_back(segment);
    }
  }
  num_appended = std::ssize(slices);
  for (const SlotSegment& segment : step) {
    if (segment.tentative && segment.rows > 0) slices.push_back(segment);
  }
  if (spec.Selects()) {
    AddWaves(spec, layout, slices);
  } else {
    for (const SlotSegment& segment : slices) AddSlice(spec, layout, segment);
  }
}

int64_t AttentionPlan::AddArchive(const AttentionSpec& spec, const SlotLayout& layout,
                                  const SlotSegment& segment) {
  if (!spec.Opens() || !segment.opens) return -1;
  const int64_t first = std::ssize(archive);
  int64_t written = layout.Archive(spec).Groups(segment.position);
  for (ArchiveGroup* each : segment.archive) {
    auto* group = static_cast<DeviceArchiveGroup*>(each);
    if (written-- <= 0) group->Renew();
    archive.push_back(group->view());
  }
  const int64_t last = segment.position + segment.rows - 1;
  const auto units = static_cast<uint64_t>(OpenableUnits(spec, last).end);
  most_units = std::max(most_units, static_cast<int64_t>(std::bit_ceil(units)));
  return first;
}

int64_t AttentionPlan::AddReport(std::span<float> to) {
  if (to.empty()) return -1;
  const int64_t from = std::exchange(reported, reported + std::ssize(to));
  reports.push_back({to, from});
  return from;
}

int64_t AttentionPlan::AddUnitReport(const AttentionSpec& spec, const SlotSegment& segment) {
  if (!spec.Opens() || !segment.opens) return -1;
  const int64_t place = AddReport(segment.unit_weights);
  reports_units = reports_units || place >= 0;
  return place;
}

int64_t AttentionPlan::AddShareReport(const SlotSegment& segment) {
  const int64_t place = AddReport(segment.attention_shares);
  reports_shares = reports_shares || place >= 0;
  return place;
}

void AttentionPlan::AddOpenScratch(const AttentionSpec& spec, const SlotLayout& layout,
                                   int64_t rows) {
  if (most_units == 0) return;
  const OpenScratch one(spec, layout, most_units);
  open_scratch = std::exchange(scratch_bytes, scratch_bytes + rows * spec.num_kv_heads * one.bytes);
}

void AttentionPlan::AddSlice(const AttentionSpec& spec, const SlotLayout& layout,
                             const SlotSegment& segment) {
  const auto index = static_cast<int32_t>(segments.size());
  segments.push_back({segment.slot, segment.position, segment.first_row, segment.rows,
                      scratch_bytes, AddShareReport(segment)});
  const PrefillScratch scratch(layout, segment.position, segment.rows);
  scratch_bytes += scratch.head_bytes() * spec.num_kv_heads;

  const Hierarchy& h = spec.hierarchy;
  const int64_t end = segment.position + segment.rows;
  const int fed = spec.downsampling == Downsampling::kHierarchical ? 1 : h.num_levels;
  for (int level = 1; level <= fed; ++level) {
    const int64_t tokens = h.GroupTokens(level);
    for (int64_t group = segment.position / tokens; group <= (end - 1) / tokens; ++group) {
      groups.push_back({group, index, level});
    }
  }
  for (int64_t row = 0; row < segment.rows;) {
    const int64_t rows = BlockRows(h, segment, row);
    blocks.push_back({row, static_cast<int32_t>(rows), index});
    row += rows;
  }
}

void AttentionPlan::AddWaves(const AttentionSpec& spec, const SlotLayout& layout,
                             std::span<const SlotSegment> slices) {
  int64_t widest = 0;  // no wave has more rows
  for (const SlotSegment& slice : slices) {
    widest += std::min(slice.rows, BlockRows(spec.hierarchy, {.rows = slice.rows}, 0));
  }
  scratch_bytes = GivenOffset(spec) + GivenBytes(spec, layout, widest);
  std::vector<int64_t> copy(slices.size(), -1);
  std::vector<int64_t> archives;
  for (size_t i = 0; i < slices.size(); ++i) {
    archives.push_back(AddArchive(spec, layout, slices[i]));
    if (!slices[i].tentative) continue;
    copy[i] = std::exchange(scratch_bytes, scratch_bytes + CopyBytes(layout));
    copies.push_back({slices[i].slot, copy[i]});
  }
  AddOpenScratch(spec, layout, std::max(widest, std::ssize(decode)));
  std::vector<int64_t> taken(slices.size());  // rows of each slice
  while (true) {
    Wave wave{.first_row = std::ssize(rows), .first_block = std::ssize(blocks)};
    for (size_t i = 0; i < slices.size(); ++i) {
      const SlotSegment& slice = slices[i];
      if (taken[i] == slice.rows) continue;
      const int64_t count = BlockRows(spec.hierarchy, slice, taken[i]);
      const int64_t position = slice.position + taken[i];
      wave.chooses = wave.chooses || spec.hierarchy.CompletesGroup(1, position);
      blocks.push_back({std::ssize(rows), static_cast<int32_t>(count), static_cast<int32_t>(i)});
      for (int64_t row = 0; row < count; ++row, ++taken[i]) {
        rows.push_back(
            {slice.slot, position + row, slice.first_row + taken[i], copy[i], archives[i]});
      }
      if (taken[i] < slice.rows) continue;
      rows.back().unit_weights = AddUnitReport(spec, slice);
      rows.back().shares = AddShareReport(slice);
    }
    wave.rows = std::ssize(rows) - wave.first_row;
    wave.blocks = std::ssize(blocks) - wave.first_block;
    if (wave.blocks == 0) return;
    waves.push_back(wave);
  }
}

}  // namespace fmaserver::kernels::cuda
