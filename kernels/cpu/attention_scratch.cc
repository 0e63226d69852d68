#include "kernels/cpu/attention.h"

#include <algorithm>
#include <limits>

namespace fmaserver::kernels::cpu {
namespace {

/// Units of an archive at which a block of the most rows looks together, if not all of a group.
constexpr int64_t kUnitsTogether = 480;

int64_t BlockRows(const AttentionSpec& spec, const SlotLayout& layout) {
  const int64_t rows = std::min<int64_t>(kMaxBlockRows, spec.hierarchy.group_size);
  if (!spec.Opens()) return rows;
  const int64_t scores = ScoreColumns(spec, layout) * spec.QueriesPerKvHead();
  const int64_t most = std::clamp<int64_t>(kMaxOpenScores / scores, 1, rows);
  // Each block looks through the whole archive, so a fine group has few, of equal size.
  const int64_t blocks = (rows + most - 1) / most;
  return (rows + blocks - 1) / blocks;
}

}  // namespace

int64_t ScoreColumns(const AttentionSpec& spec, const SlotLayout& layout) {
  if (!spec.Opens()) return layout.columns;
  return layout.columns + spec.open_units * SlotLayout::RoundUp(spec.open_size, SlotLayout::kLane);
}

AttentionScratch::AttentionScratch(const AttentionSpec& spec, const SlotLayout& layout)
    : block_rows(BlockRows(spec, layout)), selection(spec, layout), open(spec, layout, block_rows) {
  const int64_t heads = spec.QueriesPerKvHead();
  const int64_t rows = block_rows * heads;
  near_queries = AllocateAligned<float>(rows * spec.head_dim);
  far_queries = AllocateAligned<float>(rows * spec.head_dim);
  if (spec.max_distance > 0) distant_queries = AllocateAligned<float>(rows * spec.head_dim);
  scores = AllocateAligned<float>(rows * ScoreColumns(spec, layout));
  far_bias = AllocateAligned<float>(heads * layout.near_begin);
  if (ScaleSize(layout.type) > 0) kept_weights = AllocateAligned<float>(kRowTile * layout.columns);
  for (AlignedArray<float>* vector : {&key, &rotated_key, &value}) {
    *vector = AllocateAligned<float>(layout.padded_dim);
    std::fill_n(vector->get(), layout.padded_dim, 0.0F);
  }
  rounded = AllocateAligned<int8_t>(layout.padded_dim);
  outputs = AllocateAligned<float>(rows * layout.padded_dim);
  rotation = AllocateAligned<float>(spec.head_dim);
  head = AllocateAligned<std::byte>(layout.head_bytes);
  scales.resize(static_cast<size_t>(rows));
  missing.resize(static_cast<size_t>(heads * (spec.hierarchy.num_levels + 1)));
}

SelectionScratch::SelectionScratch(const AttentionSpec& spec, const SlotLayout& layout) {
  if (!spec.Selects()) return;
  const int64_t m = spec.hierarchy.group_size;
  row_sum = AllocateAligned<float>(layout.columns);
  novelty = NoveltyScratch(m, spec.head_dim);
  positions.resize(static_cast<size_t>(m));
}

ScanScratch::ScanScratch(const AttentionSpec& spec, int64_t block_rows, int64_t unit_stride)
    : queries(block_rows * spec.QueriesPerKvHead()),
      dim(SlotLayout::RoundUp(spec.head_dim, SlotLayout::kLane)),
      pairs((spec.head_dim + 3) / 4 * 2),
      scaled(AllocateAligned<float>(2 * queries * dim)),
      steps(static_cast<size_t>(2 * queries)),
      means(AllocateAligned<float>(dim)),
      deviations(AllocateAligned<float>(dim)),
      factors(AllocateAligned<float>(unit_stride)),
      hidden(AllocateAligned<float>(unit_stride)),
      levels(AllocateAligned<int32_t>(pairs * unit_stride)),
      numbers(AllocateAligned<uint16_t>(kRowTile * dim)),
      lanes(AllocateAligned<float>(SlotLayout::RoundUp(block_rows, SlotLayout::kLane) *
                                   SlotLayout::kLane)),
      best(static_cast<size_t>(block_rows)) {
  // What a unit and its tokens do not have stays as it is here.
  std::fill_n(means.get(), dim, 0.0F);
  std::fill_n(deviations.get(), dim, 0.0F);
  std::fill_n(factors.get(), unit_stride, 0.0F);
  std::fill_n(hidden.get(), unit_stride, -std::numeric_limits<float>::infinity());
  std::fill_n(levels.get(), pairs * unit_stride, 0);
}

BoundScratch::BoundScratch(const ScanScratch& scan, int64_t unit_stride)
    : stride(SlotLayout::RoundUp(scan.queries, kColumns)),
      columns(AllocateAligned<float>(scan.dim * stride)),
      weights(AllocateAligned<float>(scan.dim)),
      inverses(AllocateAligned<float>(scan.dim)),
      means(AllocateAligned<float>(kUnits * scan.dim)),
      products(AllocateAligned<float>(kUnits * stride)),
      ratios(AllocateAligned<float>(scan.dim)),
      levels_of(AllocateAligned<uint32_t>(scan.dim)),
      factors(AllocateAligned<float>(unit_stride)),
      hidden(AllocateAligned<float>(unit_stride)),
      levels(AllocateAligned<int32_t>(scan.dim / 4 * unit_stride)) {
  std::fill_n(columns.get(), scan.dim * stride, 0.0F);
  std::fill_n(means.get(), kUnits * scan.dim, 0.0F);
  numbers = AllocateAligned<int32_t>(scan.queries * scan.dim / 4);
  starts = AllocateAligned<int32_t>(stride);
  std::fill_n(starts.get(), stride, 0);
  centres = AllocateAligned<float>(stride);
  unit_starts = AllocateAligned<int32_t>(stride);
  for (AlignedArray<float>* of_queries :
       {&lengths, &rests, &slacks, &mean_slacks, &scales, &steps}) {
    *of_queries = AllocateAligned<float>(stride);
    std::fill_n(of_queries->get(), stride, 0.0F);
  }
}

RowBoundScratch::RowBoundScratch(int64_t heads, int64_t dim)
    : reach(AllocateAligned<float>(dim)),
      plain(AllocateAligned<float>(heads * dim)),
      gained(AllocateAligned<float>(heads * dim)),
      numbers(AllocateAligned<int8_t>(kBatch * kRowTile * dim)),
      starts(AllocateAligned<int32_t>(kBatch * kRowTile)),
      centres(AllocateAligned<float>(kBatch * kRowTile)),
      lanes(AllocateAligned<float>(kBatch * SlotLayout::kLane)) {
  // Heads come in whole tiles.
  const int64_t padded = SlotLayout::RoundUp(heads, kRowTile);
  for (AlignedArray<float>* of_heads : {&steps, &scales, &slacks, &mean_slacks}) {
    *of_heads = AllocateAligned<float>(padded);
    std::fill_n(of_heads->get(), padded, 0.0F);
  }
  // The last batch may have less.
  std::fill_n(lanes.get(), kBatch * SlotLayout::kLane, 0.0F);
}

OpenScratch::OpenScratch(const AttentionSpec& spec, const SlotLayout& layout, int64_t block_rows) {
  if (!spec.Opens()) return;
  const int64_t heads = spec.QueriesPerKvHead();
  const int64_t u = spec.open_size;
  unit_stride = SlotLayout::RoundUp(u, SlotLayout::kLane);
  keys = AllocateAligned<float>(spec.head_dim * unit_stride);
  values = AllocateAligned<float>(u * layout.padded_dim);
  queries = AllocateAligned<float>(heads * spec.head_dim);
  scan = ScanScratch(spec, block_rows, unit_stride);
  bound = BoundScratch(scan, unit_stride);
  row_bound = RowBoundScratch(heads, scan.dim);
  const int64_t units = std::max(kUnitsTogether, spec.hierarchy.group_size / u);
  most_bounds = block_rows * SlotLayout::RoundUp(units, SlotLayout::kLane);
  bounds = AllocateAligned<float>(most_bounds);
  squares.resize(static_cast<size_t>(u));
  products.resize(static_cast<size_t>(u));
  opened.assign(static_cast<size_t>(block_rows), TopUnits(spec.open_units));
  first_twin.resize(static_cast<size_t>(block_rows + 1));
}

}  // namespace fmaserver::kernels::cpu
