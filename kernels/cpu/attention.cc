#include "kernels/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <span>

#include "kernels/cpu/attention_shares.h"
#include "kernels/cpu/pointwise.h"
#include "kernels/cpu/seen_columns.h"
#include "kernels/cpu/simd.h"
#include "kernels/fma/attention_parts.h"
#include "kernels/host/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include "hwy/foreach_target.h"  // must come first

#include "hwy/highway.h"
#include "kernels/cpu/block_attention-inl.h"
#include "kernels/cpu/cache_vectors-inl.h"
#include "kernels/cpu/head_cache-inl.h"
#include "kernels/cpu/open_units-inl.h"
#include "kernels/cpu/selected_tokens-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

constexpr float kInvisible = -std::numeric_limits<float>::infinity();

/// The work of one KV head of one segment, or of some of its queries.
template <typename T>
class HeadTask {
 public:
  HeadTask(const AttentionStep& step, const PackedAttention& weights, int32_t layer,
           const HeadPart& part, Matrix qkv, Matrix out, AttentionScratch& scratch)
      : spec_(weights.spec),
        layout_(step.layout),
        step_(step),
        weights_(weights),
        rotary_(weights.rotary.get()),
        part_(part),
        segment_(step.segments[part.segment]),
        layer_(layer),
        kv_head_(part.kv_head),
        first_head_(kv_head_ * spec_.QueriesPerKvHead() + part.first_head),
        heads_(part.heads),
        qkv_(qkv),
        out_(out),
        scratch_(scratch),
        head_(HeadBlock(layer)),
        cache_(weights, step, head_, scratch),
        selected_(weights, step, head_, scratch),
        opened_(weights, step, part_, layer, head_, scratch) {}

  /// All that the KV head does.
  void Run() {
    const int64_t group_size = layout_.hierarchy.group_size;
    for (int64_t row = 0; row < segment_.rows;) {
      const int64_t position = segment_.position + row;
      const int64_t rest_of_group = group_size - position % group_size;
      const int64_t rows = std::min({segment_.rows - row, rest_of_group, scratch_.block_rows});
      Append(row, rows);
      if (Attends()) {
        Attend(row, rows);
        if (row + rows == segment_.rows) Report(rows - 1);
        for (int64_t i = 0; spec_.Selects() && i < rows; ++i) Receive(i, position + i);
      }
      // Queries of the block may still see a group that closing replaces, so close last.
      if (rows == rest_of_group) CloseGroups(position + rows);
      row += rows;
    }
  }

  /// Of a head that is divided: what comes before its parts.
  void Begin() { Append(0, 1); }

  /// What a part does. The last one does the rest for all queries of the row.
  void RunPart() {
    if (Attends()) {
      Attend(0, 1);
      if (opens_) opened_.MoveWeights(0, scores_, stride_);
    }
    if (!part_.shared->End()) return;
    const int64_t position = segment_.position;
    if (spec_.Selects()) {
      const SharedRow& row = *part_.shared;
      selected_.Receive(position, row.scores.get(), stride_, row.scales, far_end_);
    }
    if ((position + 1) % layout_.hierarchy.group_size == 0) CloseGroups(position + 1);
  }

  /// Does a part of the scan.
  void Scan(const DividedScans::Part& part, std::span<TopUnits> found) {
    ScaleQueries(part.first_row, part.rows);
    opened_.Begin(part.rows, layout_.hierarchy.FineGroup(segment_.position + part.first_row));
    // Whoever attends finds its share of the keys fetched.
    const DividedScans& scans = *step_.scans;
    const int64_t all = scans.Groups(part.segment, part.kv_head);
    opened_.Look(part.groups, KeyBytes(part.groups.first, part.groups.end, all));
    for (int64_t row = 0; row < part.rows; ++row) found[row] = opened_.Found(row);
  }

 private:
  /// The head block in the slot or, for a tentative segment, a copy of it that is thrown away
  /// afterwards.
  std::byte* HeadBlock(int32_t layer) const {
    std::byte* head = segment_.slot + layout_.HeadOffset(layer, kv_head_);
    if (!segment_.tentative) return head;
    std::copy_n(head, layout_.head_bytes, scratch_.head.get());
    return scratch_.head.get();
  }

  /// Those that end just before `position`.
  void CloseGroups(int64_t position) {
    cache_.CloseGroups(position);
    const int64_t leaving = layout_.hierarchy.FineGroup(position) - 2;
    if (segment_.opens && leaving >= 0) opened_.WriteGroup(leaving);
  }

  const float* QueryAt(int64_t row, int64_t head) const {
    return qkv_.Row(segment_.first_row + row) + (first_head_ + head) * spec_.head_dim;
  }
  const float* KeyAt(int64_t row) const {
    return qkv_.Row(segment_.first_row + row) +
           int64_t{spec_.num_heads + kv_head_} * spec_.head_dim;
  }
  const float* ValueAt(int64_t row) const {
    return KeyAt(row) + int64_t{spec_.num_kv_heads} * spec_.head_dim;
  }
  Rotation RotationAt(int64_t row) const {
    return rotary_ == nullptr ? nullptr : step_.RotationAt(segment_.first_row + row);
  }

  bool Attends() const { return out_.data != nullptr || spec_.Selects(); }

  /// Rows of one fine group.
  void Append(int64_t first, int64_t rows) {
    const int64_t position = segment_.position + first;
    const bool begins = position % layout_.hierarchy.group_size == 0;
    if (spec_.Selects() && begins) selected_.ChooseGroups(position);
    for (int64_t row = first; row < first + rows; ++row) {
      cache_.Append(segment_.position + row, KeyAt(row), ValueAt(row), RotationAt(row));
      if (spec_.Selects()) selected_.Start(segment_.position + row);
    }
  }

  void Attend(int64_t first, int64_t rows) {
    const int64_t position = segment_.position + first;
    const int64_t fine_group = layout_.hierarchy.FineGroup(position);
    ScaleQueries(first, rows);
    LookAround(fine_group, position + rows);

    const int64_t queries = rows * heads_;
    opened_at_ = far_end_ + layout_.columns - layout_.near_begin;
    opens_ = segment_.opens && opened_.Columns(fine_group) > 0;
    stride_ = opened_at_ + (opens_ ? opened_.Columns(fine_group) : 0);
    SetScores();
    // Choosing takes long enough to fetch what is scored then.
    if (opens_) {
      ChooseOpened(first, rows, fine_group);
    } else {
      cache_.keys().Fetch(scratch_.seen);
    }
    if (out_.data != nullptr) cache_.values().Fetch(scratch_.runs);
    ScoreFar(position, rows);
    ScoreColumns(scratch_.near_queries.get(), 0, queries, layout_.near_begin, layout_.columns);
    if (opens_) opened_.Score(rows, scores_, stride_, opened_at_);
    for (int64_t query = 0; query < queries; query += kRowTile) {
      const int64_t tile = std::min<int64_t>(kRowTile, queries - query);
      for (int64_t q = query; q < query + tile; ++q) {
        float* scores = scores_ + q * stride_;
        const int64_t head = q % heads_;
        MaskAndBias(scores, head, position + q / heads_);
        scales_[q] = Softmax(scores, stride_, {Missing(head), static_cast<size_t>(num_missing_)});
      }
      if (out_.data != nullptr) WeighColumns(query, tile);
    }
    if (out_.data != nullptr) StoreOutput(first, queries);
  }

  /// Where scores and scales of the block's queries lie.
  void SetScores() {
    if (part_.shared == nullptr) {
      scores_ = scratch_.scores.get();
      scales_ = scratch_.scales;
    } else {
      scores_ = part_.shared->scores.get() + part_.first_head * stride_;
      scales_ = std::span(part_.shared->scales).subspan(part_.first_head, heads_);
    }
  }

  /// About the segment's last row, which is `row` of the block.
  void Report(int64_t row) {
    ReportUnits(row);
    ReportShares(row);
  }

  /// What the segment's last row gave to opened units, if somebody wants to know.
  void ReportUnits(int64_t row) {
    if (!opens_ || segment_.unit_weights.empty()) return;
    const int64_t query = row * heads_;
    const std::span<float> sums = segment_.unit_weights;
    opened_.AddUnitWeights(row, scores_ + query * stride_, stride_, opened_at_,
                           scales_.subspan(query, heads_),
                           sums.data() + kv_head_ * std::ssize(sums) / spec_.num_kv_heads);
  }

  /// How the segment's last row divided its attention, if somebody wants to know.
  void ReportShares(int64_t row) {
    if (segment_.attention_shares.empty()) return;
    const int64_t count = AttentionParts(layout_.hierarchy).Count();
    const std::span<float> shares = segment_.attention_shares.subspan(
        (int64_t{layer_} * spec_.num_kv_heads + kv_head_) * count, count);
    for (int64_t head = 0; head < heads_; ++head) {
      const int64_t query = row * heads_ + head;
      const std::span<const float> weights(scores_ + query * stride_, stride_);
      // The row was the last whose softmax was made, so the weights of missing keys are its own.
      AddShares(layout_,
                {.far = weights.first(far_end_),
                 .near = weights.subspan(far_end_, opened_at_ - far_end_),
                 .opened = weights.subspan(opened_at_),
                 .missing = {Missing(head), static_cast<size_t>(num_missing_)},
                 .scale = scales_[query]},
                shares);
    }
  }

  /// The slot's keys from the share `first` of `all` on.
  std::span<const std::byte> KeyBytes(int64_t first, int64_t end, int64_t all) const {
    const int64_t begin = layout_.values_offset * first / all;
    const int64_t bytes = layout_.values_offset * end / all - begin;
    return {head_ + begin, static_cast<size_t>(bytes)};
  }

  void ChooseOpened(int64_t first, int64_t rows, int64_t fine_group) {
    const DividedScans& scans = *step_.scans;
    opened_.Begin(rows, fine_group);
    for (int64_t row = 0; row < rows; ++row) {
      for (const TopUnits& found : scans.Found(part_.segment, kv_head_, first + row)) {
        opened_.Offer(row, found);
      }
    }
    opened_.Look({scans.Groups(part_.segment, kv_head_), fine_group - 1}, KeyBytes(0, 1, 1));
    opened_.Choose();
  }

  /// Every part of the far field by the form of the query that it is met with.
  void ScoreFar(int64_t position, int64_t rows) {
    const int64_t queries = rows * heads_;
    const float* near = scratch_.near_queries.get();
    if (spec_.max_distance == 0) {
      const bool plain = rotary_ != nullptr && !spec_.FarIsRotated();
      return ScoreColumns(plain ? scratch_.far_queries.get() : near, 0, queries, 0, far_end_);
    }
    const float* distant = scratch_.distant_queries.get();
    const int64_t sinks_end = std::min(layout_.far_begin, far_end_);
    const int64_t distant_begin = std::min(layout_.DistantBegin(), far_end_);
    const int64_t in_place = std::clamp<int64_t>(spec_.max_distance - position + 1, 0, rows);
    ScoreColumns(near, 0, in_place * heads_, 0, sinks_end);
    ScoreColumns(distant, in_place * heads_, queries, 0, sinks_end);
    ScoreColumns(near, 0, queries, sinks_end, distant_begin);
    ScoreColumns(distant, 0, queries, distant_begin, far_end_);
  }

  /// Scores of queries [first, end) against those of the columns [from, to), which lie in one part,
  /// that a query sees. What the others get is hidden by MaskAndBias().
  void ScoreColumns(const float* forms, int64_t first, int64_t end, int64_t from, int64_t to) {
    const KeyColumns<T>& keys = cache_.keys();
    for (const ColumnStretch& seen : scratch_.seen) {
      const int64_t begin = std::max(from, seen.begin);
      const int64_t count = std::min(to, seen.end) - begin;
      if (count <= 0) continue;
      const int64_t place =
          begin < layout_.near_begin ? begin : begin - layout_.near_begin + far_end_;
      float* scores = scores_ + first * stride_ + place;
      Scores(forms + first * spec_.head_dim, end - first, spec_.head_dim, keys.From(begin), count,
             scores, stride_);
      if constexpr (kHasScales<T>) {
        for (int64_t row = first; row < end; ++row, scores += stride_) {
          MultiplyBy(keys.scales() + begin, count, scores, scores);
        }
      }
    }
  }

  void Receive(int64_t row, int64_t position) {
    const int64_t query = row * heads_;
    float* weights = scores_ + query * stride_;
    if (opens_) opened_.MoveWeights(row, weights, stride_);
    selected_.Receive(position, weights, stride_, scales_.subspan(query, heads_), far_end_);
  }

  /// Queries with their scale folded in: plain for an unrotated far field, rotated by max_distance
  /// for levels that seem so far away, rotated by their positions for the rest.
  void ScaleQueries(int64_t first, int64_t rows) {
    const float scale = QueryScale(spec_);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t head = 0; head < heads_; ++head) {
        const int64_t at = (row * heads_ + head) * spec_.head_dim;
        const float* query = QueryAt(first + row, head);
        float* plain = scratch_.far_queries.get() + at;
        float* placed = scratch_.near_queries.get() + at;
        for (int32_t c = 0; c < spec_.head_dim; ++c) plain[c] = query[c] * scale;
        if (rotary_ != nullptr) {
          rotary_->Apply(RotationAt(first + row), plain, placed);
        } else {
          std::copy_n(plain, spec_.head_dim, placed);
        }
        if (spec_.max_distance > 0) {
          rotary_->Apply(rotary_->Distant(), plain, scratch_.distant_queries.get() + at);
        }
      }
    }
  }

  /// Finds what the queries of `fine_group` see while the sequence has `length` tokens: far biases
  /// per head, the visible runs of columns, and the missing keys.
  void LookAround(int64_t fine_group, int64_t length) {
    const Hierarchy& h = layout_.hierarchy;
    scratch_.runs.clear();
    num_missing_ = 0;
    far_end_ = 0;
    std::fill_n(scratch_.far_bias.get(), heads_ * layout_.near_begin, kInvisible);
    if (h.sink_tokens > 0 && fine_group >= Hierarchy::kFirstGroupWithSinks) {
      for (int64_t head = 0; head < heads_; ++head) ShowFar(head, 0, h.sink_tokens, 0.0F);
      AddFarRun(0, h.sink_tokens);
    }
    for (int level = 1; level <= h.num_levels; ++level) ShowLevel(level, fine_group);

    AddNearRun((fine_group - 1) * h.group_size, fine_group * h.group_size);
    AddNearRun(fine_group * h.group_size, length);
    if (spec_.padding == Padding::kZeroKeys && fine_group == 0) {
      for (int64_t head = 0; head < heads_; ++head) {
        Missing(head)[num_missing_] = {AttentionParts::kNearField, 0.0F, h.group_size};
      }
      ++num_missing_;
    }
    FindSeenColumns(scratch_.runs, layout_.near_begin, scratch_.seen);
  }

  /// The num_missing_ missing keys of query head `head`; all heads have the same levels.
  MissingKeys* Missing(int64_t head) const {
    return scratch_.missing.data() + head * (layout_.hierarchy.num_levels + 1);
  }

  void ShowLevel(int level, int64_t fine_group) {
    const Hierarchy& h = layout_.hierarchy;
    const GroupRange groups = Hierarchy::FarGroups(level, fine_group);
    const GroupRange existing = groups.Existing();
    for (int64_t group = existing.first; group < existing.end; ++group) {
      AddFarRun(layout_.FarColumn(level, group), h.rank);
    }
    const bool misses = spec_.padding == Padding::kZeroKeys && groups.Missing() > 0;
    for (int64_t head = 0; head < heads_; ++head) {
      const float bias = weights_.FarBias(first_head_ + head, level);
      for (int64_t group = existing.first; group < existing.end; ++group) {
        ShowFar(head, layout_.FarColumn(level, group), h.rank, bias);
      }
      if (misses) {
        Missing(head)[num_missing_] = {AttentionParts(h).Level(level), bias,
                                       groups.Missing() * h.rank};
      }
    }
    if (misses) ++num_missing_;
  }

  void ShowFar(int64_t head, int64_t column, int64_t count, float bias) {
    std::fill_n(scratch_.far_bias.get() + head * layout_.near_begin + column, count, bias);
  }

  void AddFarRun(int64_t column, int64_t count) {
    scratch_.runs.push_back({column, column, count});
    far_end_ = std::max(far_end_, SlotLayout::RoundUp(column + count, SlotLayout::kLane));
  }

  /// Adds tokens [first, end), which must lie in one half of the ring.
  void AddNearRun(int64_t first, int64_t end) {
    if (first < 0) return;
    const int64_t column = layout_.NearColumn(first);
    scratch_.runs.push_back({far_end_ + column - layout_.near_begin, column, end - first});
  }

  /// Adds the far biases and hides the near columns that the query at `position` does not see.
  void MaskAndBias(float* scores, int64_t head, int64_t position) const {
    const float* bias = scratch_.far_bias.get() + head * layout_.near_begin;
    for (int64_t c = 0; c < far_end_; ++c) {
      scores[c] = bias[c] == kInvisible ? kInvisible : scores[c] + bias[c];
    }
    const int64_t m = layout_.hierarchy.group_size;
    float* near = scores + far_end_;
    const int64_t own = layout_.NearColumn(position - position % m) - layout_.near_begin;
    std::fill(near + own + position % m + 1, near + own + m, kInvisible);
    if (position < m) std::fill_n(near + m, m, kInvisible);
    std::fill(near + 2 * m, near + layout_.columns - layout_.near_begin, kInvisible);
  }

  /// Sets the outputs of `count` queries of the block, up to 1 / the sum of weights, to what the
  /// slot's values give.
  void WeighColumns(int64_t query, int64_t count) {
    const float* weights = scores_ + query * stride_;
    int64_t stride = stride_;
    if constexpr (kHasScales<T>) {
      stride = far_end_ + layout_.columns - layout_.near_begin;
      weights = ScaledWeights(weights, count, stride);
    }
    WeightedRows(count, weights, stride, scratch_.runs, cache_.values().data(), layout_.padded_dim,
                 scratch_.outputs.get() + query * layout_.padded_dim);
  }

  /// The first `columns` weights of `count` queries, each times the scale of its value: for numbers
  /// that are still to be multiplied by it.
  const float* ScaledWeights(const float* weights, int64_t count, int64_t columns) const {
    const BFloat16* scales = cache_.values().scales();
    float* scaled = scratch_.kept_weights.get();
    for (int64_t i = 0; i < count; ++i, weights += stride_, scaled += columns) {
      MultiplyBy(scales, far_end_, weights, scaled);
      MultiplyBy(scales + layout_.near_begin, columns - far_end_, weights + far_end_,
                 scaled + far_end_);
    }
    return scratch_.kept_weights.get();
  }

  /// Of the block's queries, the first of which is row `first` of the segment.
  void StoreOutput(int64_t first, int64_t queries) {
    float* outputs = scratch_.outputs.get();
    if (opens_) opened_.AddValues(scores_, stride_, opened_at_, outputs);
    for (int64_t query = 0; query < queries; ++query, outputs += layout_.padded_dim) {
      const int64_t head = first_head_ + query % heads_;
      float* out = out_.Row(segment_.first_row + first + query / heads_) + head * spec_.head_dim;
      for (int32_t c = 0; c < spec_.head_dim; ++c) out[c] = outputs[c] * scales_[query];
    }
  }

  const AttentionSpec& spec_;
  const SlotLayout& layout_;
  const AttentionStep& step_;
  const PackedAttention& weights_;
  const Rotary* const rotary_;  // null: nothing is rotated
  const HeadPart part_;
  const SlotSegment& segment_;
  const int32_t layer_;
  const int32_t kv_head_;
  const int64_t first_head_;  // of all query heads
  const int64_t heads_;
  const Matrix qkv_;
  const Matrix out_;
  AttentionScratch& scratch_;
  std::byte* const head_;
  HeadCache<T> cache_;
  SelectedTokens<T> selected_;
  OpenUnits<T> opened_;

  // Of the block:
  int64_t far_end_ = 0;    // far columns that some query sees end before it
  int64_t opened_at_ = 0;  // where the scores of opened units begin
  int64_t stride_ = 0;     // floats from one query's scores to the next's
  float* scores_ = nullptr;
  std::span<float> scales_;
  int64_t num_missing_ = 0;
  bool opens_ = false;
};

/// Calls use(the task of `part`).
template <typename Use>
void WithTask(const LayerAttention& of, const HeadPart& part, AttentionScratch& scratch,
              const Use& use) {
  WithElement(of.step.layout.type, [&](auto element) {
    HeadTask<decltype(element)> task(of.step, of.weights, of.layer, part, of.qkv, of.out, scratch);
    use(task);
  });
}

void RunScan(const LayerAttention& of, int64_t index, AttentionScratch& scratch) {
  DividedScans& scans = *of.step.scans;
  const DividedScans::Part& part = scans.parts()[index];
  const HeadPart head = {part.segment, part.kv_head, 0, of.weights.spec.QueriesPerKvHead()};
  WithTask(of, head, scratch, [&](auto& task) { task.Scan(part, scans.Found(part)); });
}

void BeginHead(const LayerAttention& of, int64_t index, AttentionScratch& scratch) {
  WithTask(of, of.step.heads->divided()[index], scratch, [](auto& task) { task.Begin(); });
}

void RunHead(const LayerAttention& of, int64_t index, AttentionScratch& scratch) {
  const HeadPart& part = of.step.heads->all()[index];
  WithTask(of, part, scratch,
           [&](auto& task) { part.shared == nullptr ? task.Run() : task.RunPart(); });
}

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fmaserver::kernels::cpu {
namespace {

HWY_EXPORT(RunScan);
HWY_EXPORT(BeginHead);
HWY_EXPORT(RunHead);

}  // namespace

void Attend(ThreadPool& pool, AttentionStep& step, const PackedAttention& weights, int32_t layer,
            Matrix qkv, Matrix out, std::span<AttentionScratch> scratch) {
  step.RotateBy(weights.rotary.get(), pool);
  const AttentionSpec& spec = weights.spec;
  NormHeads(pool, weights.query_norm, {0, spec.num_heads, spec.head_dim}, qkv);
  NormHeads(pool, weights.key_norm, {spec.num_heads, spec.num_kv_heads, spec.head_dim}, qkv);
  step.Divide(pool.threads(), scratch[0].block_rows);
  const LayerAttention of = {step, weights, layer, qkv, out};
  TaskOrder& order = *step.order;
  order.Restart();
  pool.ParallelFor(std::ssize(order.tasks()), [&](int64_t i, int worker) {
    const TaskOrder::Task& task = order.tasks()[i];
    order.Await(task);
    switch (task.kind) {
      case TaskOrder::Kind::kScan:
        HWY_DYNAMIC_DISPATCH(RunScan)(of, task.index, scratch[worker]);
        break;
      case TaskOrder::Kind::kBegin:
        HWY_DYNAMIC_DISPATCH(BeginHead)(of, task.index, scratch[worker]);
        break;
      case TaskOrder::Kind::kHead:
        HWY_DYNAMIC_DISPATCH(RunHead)(of, task.index, scratch[worker]);
    }
    order.End(task);
  });
}

}  // namespace fmaserver::kernels::cpu
#endif  // HWY_ONCE
