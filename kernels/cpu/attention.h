// The multilevel attention on the CPU: append to the cache, attend, close the completed groups.
// With selected tokens: choose the groups that come into view, append, attend, note what was
// attended to. With opened units: choose those too, and archive the group that leaves the near
// field.
//
// One KV head of one segment is one task, or several (head_parts.h). Its rows are walked in blocks
// that lie inside a fine group, because all queries of a fine group see the same far field: a block
// is matrix-matrix work over the head block's key and value matrices, and decode is a block of one
// row. Every sum runs
// over columns whose places depend only on absolute positions, so a row's bits do not depend on the
// block.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/attention_weights.h"
#include "kernels/cpu/divided_scans.h"
#include "kernels/cpu/head_parts.h"
#include "kernels/cpu/novelty.h"
#include "kernels/cpu/read_ahead.h"
#include "kernels/cpu/rotary.h"
#include "kernels/cpu/seen_columns.h"
#include "kernels/cpu/task_order.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/top_units.h"
#include "kernels/fma/archive_layout.h"
#include "kernels/host/slot_segment.h"

namespace fmaserver::kernels::cpu {

/// The most rows that a block has; longer fine groups are walked in several blocks.
inline constexpr int64_t kMaxBlockRows = 64;

/// With opened units a block has no more rows than have this many scores, but at least one.
inline constexpr int64_t kMaxOpenScores = 1 << 18;

/// Rows of a block that share the loads of keys and values.
inline constexpr int kRowTile = 4;

/// `count` keys of zeros that stand for missing groups of a part (AttentionParts), all with the
/// same score.
struct MissingKeys {
  int part = 0;
  float score = 0;
  int64_t count = 0;
  float weight = 0;  ///< of all of them, once the softmax is known
};

/// Working memory of one thread for models that select tokens; of others it is empty.
struct SelectionScratch {
  SelectionScratch(const AttentionSpec& spec, const SlotLayout& layout);

  AlignedArray<float> row_sum;     ///< [C]: a row's weights, summed over query heads
  NoveltyScratch novelty;          ///< of a fine group
  std::vector<int64_t> positions;  ///< [m]
  std::vector<int32_t> chosen;     ///< [p]; while a group is chosen all candidates
};

/// A token that a query meets in an opened unit in place of its far column: both columns of its row
/// of scores.
struct Twin {
  int64_t far = 0;
  int64_t opened = 0;
};

/// A unit that the query `row` of a block has opened: its scores begin `column` columns behind the
/// first of the row's opened units.
struct Visit {
  int64_t unit = 0;
  int64_t row = 0;
  int64_t column = 0;
};

/// Queries and a sketch while they are matched; see sketch_scan-inl.h.
struct ScanScratch {
  ScanScratch() = default;
  ScanScratch(const AttentionSpec& spec, int64_t block_rows, int64_t unit_stride);

  int64_t queries = 0;             ///< of a block
  int64_t dim = 0;                 ///< D
  int64_t pairs = 0;               ///< of channels, an even number
  AlignedArray<float> scaled;      ///< [2 forms, queries, D], so that the largest channel is 32767
  std::vector<float> steps;        ///< [2 forms, queries]: what was divided by
  AlignedArray<float> means;       ///< [D], of a unit, as all that follows
  AlignedArray<float> deviations;  ///< [D], so that the largest is 1
  AlignedArray<float> factors;     ///< [unit_stride]: of the integer products
  AlignedArray<float> hidden;      ///< [unit_stride]: 0, or -infinity for sinks and padding
  AlignedArray<int32_t> levels;    ///< [pairs, unit_stride]: two channels, 16 bits each
  AlignedArray<uint16_t> numbers;  ///< [kRowTile, D]: of some queries
  AlignedArray<float> lanes;       ///< [rows padded to 16, 16]
  std::vector<float> best;         ///< [rows]
};

/// The same while bounds are made; see sketch_bound-inl.h. Of queries there are numbers for a
/// multiple of kColumns.
struct BoundScratch {
  static constexpr int64_t kColumns = 64;
  static constexpr int kUnits = 4;  ///< whose means are read together

  BoundScratch() = default;
  BoundScratch(const ScanScratch& scan, int64_t unit_stride);

  int64_t stride = 0;                 ///< of queries
  AlignedArray<float> columns;        ///< [D, stride]: of the scaled queries
  AlignedArray<float> weights;        ///< [D]: the mean deviations of some units
  AlignedArray<float> inverses;       ///< [D]: 1 / these
  AlignedArray<int32_t> numbers;      ///< [D / 4, queries]: X of four channels, 8 bits each
  AlignedArray<int32_t> starts;       ///< [queries]: what sums of products begin with
  AlignedArray<float> lengths;        ///< [queries]: |x|
  AlignedArray<float> rests;          ///< [queries]: |x - X|
  AlignedArray<float> slacks;         ///< [queries]: added to sums of products
  AlignedArray<float> mean_slacks;    ///< [queries]: added to products with means
  AlignedArray<float> scales;         ///< [queries]: makes scores of sums of products
  AlignedArray<float> steps;          ///< [queries]: makes scores of products with means
  AlignedArray<float> means;          ///< [kUnits, D]
  AlignedArray<float> products;       ///< [kUnits, stride]: of queries and means
  AlignedArray<float> ratios;         ///< [D]: deviations / weights; of a unit, as all that follows
  AlignedArray<uint32_t> levels_of;   ///< [D]: 128 + Y of a channel by code
  AlignedArray<float> factors;        ///< [unit_stride], lane by lane: f in units of Y
  AlignedArray<float> hidden;         ///< [unit_stride]: 0, or -infinity for sinks
  AlignedArray<float> centres;        ///< [queries]: added to scores
  AlignedArray<int32_t> unit_starts;  ///< [queries]: starts, and what is added to the sums
  AlignedArray<int32_t> levels;       ///< [D / 4, unit_stride]: 128 + Y of four channels
};

/// The same for the queries of a single row and some units at once; see row_bound-inl.h. Channels
/// are in the order of its Halves.
struct RowBoundScratch {
  static constexpr int64_t kBatch = 16;

  RowBoundScratch() = default;
  RowBoundScratch(int64_t heads, int64_t dim);

  AlignedArray<float> reach;        ///< [D]: the largest deviations of some units
  AlignedArray<float> plain;        ///< [heads, D]: queries
  AlignedArray<float> gained;       ///< [heads, D]: the same so that numbers have 8 bits
  AlignedArray<float> steps;        ///< [heads]: makes scores of products with means
  AlignedArray<float> scales;       ///< [heads]: makes scores of sums of products
  AlignedArray<float> slacks;       ///< [heads]: added to sums of products
  AlignedArray<float> mean_slacks;  ///< [heads]: added to products with means
  AlignedArray<int8_t> numbers;     ///< [kBatch, kRowTile, D]: X
  AlignedArray<int32_t> starts;     ///< [kBatch, kRowTile]: what sums of products begin with
  AlignedArray<float> centres;      ///< [kBatch, kRowTile]: added to scores
  AlignedArray<float> lanes;        ///< [kBatch, 16]
};

/// Working memory of one thread for models that open units; of others it is empty.
struct OpenScratch {
  OpenScratch(const AttentionSpec& spec, const SlotLayout& layout, int64_t block_rows);

  int64_t unit_stride = 0;       ///< u, padded to SlotLayout::kLane
  AlignedArray<float> keys;      ///< [d, unit_stride]
  AlignedArray<float> values;    ///< [u, D]
  AlignedArray<float> queries;   ///< [queries per KV head, d]
  std::vector<double> squares;   ///< [u]: of a sketch that is made, as the next
  std::vector<double> products;  ///< [u]
  ScanScratch scan;
  BoundScratch bound;
  RowBoundScratch row_bound;
  std::vector<TopUnits> opened;            ///< of each row of a block
  int64_t most_bounds = 0;                 ///< of all rows
  std::vector<const std::byte*> sketches;  ///< of a piece; null where there are only sinks
  AlignedArray<float> bounds;              ///< [rows, units of a piece]
  std::vector<uint64_t> wanted;            ///< units of a piece: a bit for each row to score it
  std::vector<int64_t> listed;             ///< those that are wanted
  std::vector<Visit> visits;               ///< of a block, by unit
  std::vector<Twin> twins;                 ///< of the rows of a block, one after the other
  std::vector<int64_t> first_twin;         ///< [rows + 1]
  ReadAhead read_ahead;                    ///< of opened units
};

/// Working memory of one thread.
struct AttentionScratch {
  AttentionScratch(const AttentionSpec& spec, const SlotLayout& layout);

  int64_t block_rows;                   ///< the most that a block has
  AlignedArray<float> near_queries;     ///< [rows, d], scaled by QueryScale(), rotated
  AlignedArray<float> far_queries;      ///< [rows, d], not rotated
  AlignedArray<float> distant_queries;  ///< [rows, d], rotated by max_distance, where there is one
  AlignedArray<float> scores;           ///< [rows, C and the columns of opened units]
  AlignedArray<float> far_bias;         ///< [queries per KV head, near_begin]
  AlignedArray<float> kept_weights;     ///< [kRowTile, C], only where the cache has scales
  AlignedArray<float> key;              ///< [D], as the next zero behind the d-th number
  AlignedArray<float> rotated_key;      ///< [D]
  AlignedArray<float> value;            ///< [D]
  AlignedArray<int8_t> rounded;         ///< [D]
  AlignedArray<float> outputs;          ///< [rows, D]
  AlignedArray<float> rotation;         ///< [d]
  AlignedArray<std::byte> head;         ///< a head block, which a tentative segment may change
  std::vector<float> scales;            ///< [rows]: 1 / the sum of a row's weights
  std::vector<ColumnRun> runs;
  std::vector<ColumnStretch> seen;   ///< what the runs reach
  std::vector<MissingKeys> missing;  ///< [queries per KV head, L + 1]
  SelectionScratch selection;
  OpenScratch open;
};

/// Scores of one query: of every column and of the units that it opens.
int64_t ScoreColumns(const AttentionSpec& spec, const SlotLayout& layout);

/// What the attention of every layer of a step shares.
class AttentionStep {
 public:
  AttentionStep(const AttentionSpec& spec, const SlotLayout& layout,
                std::vector<SlotSegment> segments);

  /// Makes RotationAt() that of `rotary`, which the next layer attends with; null: it needs none.
  /// Layers that share one share the work.
  void RotateBy(Rotary* rotary, ThreadPool& pool);

  /// Makes `scans`, `heads` and `order`, when they have yet to be made; a part of a scan has at
  /// most `most_rows` rows.
  void Divide(int threads, int64_t most_rows);

  /// The archived sketches of one of the segments, group by group: those of head 0.
  std::span<std::byte* const> SketchesOf(const SlotSegment& segment) const {
    return sketches_[&segment - segments.data()];
  }

  /// Of row `row` of the step's matrices, by its position.
  Rotation RotationAt(int64_t row) const { return rotations_.data() + row * spec.head_dim; }

  const AttentionSpec spec;
  const SlotLayout layout;
  const ArchiveLayout archive;
  const std::vector<SlotSegment> segments;
  std::optional<DividedScans> scans;
  std::optional<HeadParts> heads;
  std::optional<TaskOrder> order;

 private:
  const Rotary* rotary_ = nullptr;                 // of rotations_
  std::vector<float> rotations_;                   // [rows, d]
  std::vector<std::vector<std::byte*>> sketches_;  // of each segment
};

/// One layer's part of a step.
struct LayerAttention {
  AttentionStep& step;
  const PackedAttention& weights;
  int32_t layer;
  Matrix qkv;
  Matrix out;
};

/// See Backend::Attend. Without data in `out` only the slots change. `scratch` has one entry per
/// thread of the pool.
void Attend(ThreadPool& pool, AttentionStep& step, const PackedAttention& weights, int32_t layer,
            Matrix qkv, Matrix out, std::span<AttentionScratch> scratch);

}  // namespace fmaserver::kernels::cpu
