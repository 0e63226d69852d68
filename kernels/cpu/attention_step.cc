#include <iterator>
#include <utility>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/host_group.h"

namespace fmaserver::kernels::cpu {

AttentionStep::AttentionStep(const AttentionSpec& attention, const SlotLayout& slot,
                             std::vector<SlotSegment> parts)
    : spec(attention), layout(slot), archive(slot.Archive(attention)), segments(std::move(parts)) {
  for (const SlotSegment& segment : segments) {
    std::vector<std::byte*>& sketches = sketches_.emplace_back();
    for (const ArchiveGroup* group : segment.archive) {
      sketches.push_back(kernels::SketchesOf(*group).first);
    }
  }
}

void AttentionStep::RotateBy(Rotary* rotary, ThreadPool& pool) {
  if (rotary == nullptr || rotary == rotary_) return;
  rotary_ = rotary;
  std::vector<int64_t> positions;
  for (const SlotSegment& segment : segments) {
    if (segment.opens) rotary->ReachGroups(std::ssize(segment.archive), pool);
    positions.resize(static_cast<size_t>(segment.first_row));
    for (int64_t row = 0; row < segment.rows; ++row) positions.push_back(segment.position + row);
  }
  const auto rows = static_cast<int64_t>(positions.size());
  rotations_.resize(rows * spec.head_dim);
  pool.ParallelFor(rows, [&](int64_t row, int) {
    rotary->Fill(static_cast<double>(positions[row]), rotations_.data() + row * spec.head_dim);
  });
}

void AttentionStep::Divide(int threads, int64_t most_rows) {
  if (heads.has_value()) return;
  scans.emplace(spec, archive, segments, threads, most_rows);
  heads.emplace(spec, segments, threads, ScoreColumns(spec, layout));
  order.emplace(std::ssize(segments), spec.num_kv_heads, *scans, *heads, threads);
}

}  // namespace fmaserver::kernels::cpu
