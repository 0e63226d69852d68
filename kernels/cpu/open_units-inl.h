// Which units the queries of a block open, and how they attend to them: one KV head. docs/model.md,
// "Opened units".
//
// In a row of scores the opened units follow the near part, in order, each padded to
// SlotLayout::kLane columns.

#if defined(FMA_KERNELS_CPU_OPEN_UNITS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_OPEN_UNITS_INL_H_
#undef FMA_KERNELS_CPU_OPEN_UNITS_INL_H_
#else
#define FMA_KERNELS_CPU_OPEN_UNITS_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>

#include "hwy/highway.h"
#include "kernels/cpu/archive-inl.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/block_attention-inl.h"
#include "kernels/cpu/sketch_scan-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// T: the cache's element type.
template <typename T>
class OpenUnits {
 public:
  OpenUnits(const PackedAttention& weights, const AttentionStep& step, const SlotSegment& segment,
            int32_t layer, int32_t kv_head, std::byte* head, AttentionScratch& scratch)
      : spec_(weights.spec),
        slot_(step.layout),
        layout_(step.archive),
        rotary_(weights.rotary.get()),
        heads_(spec_.QueriesPerKvHead()),
        positions_(reinterpret_cast<const int64_t*>(head + slot_.positions_offset)),
        scratch_(scratch),
        work_(scratch.open),
        archive_(weights, step, segment, layer, kv_head, head, scratch),
        scan_(layout_, work_) {}

  /// Columns that the opened units of a query in `fine_group` take.
  int64_t Columns(int64_t fine_group) const {
    return std::min<int64_t>(spec_.open_units, Units(fine_group)) * work_.unit_stride;
  }

  /// Finds what the `rows` queries of a block in `fine_group` open, whose forms are in the scratch.
  void Choose(int64_t rows, int64_t fine_group) {
    Begin(rows, fine_group);
    for (int64_t group = 0; group < fine_group - 1; ++group) Scan(group, rows);
    for (int64_t row = 0; row < rows; ++row) work_.opened[row].Finish();
  }

  /// The same for one query, out of the units of `groups` alone.
  void ChooseAmong(GroupRange groups, int64_t fine_group, TopUnits& best) {
    Begin(1, fine_group);
    for (int64_t group = groups.first; group < groups.end; ++group) Scan(group, 1);
    work_.opened[0].Finish();
    best = work_.opened[0];
  }

  /// The same, out of what was chosen among parts of the groups that follow each other.
  void ChooseAmong(std::span<const TopUnits> parts, int64_t fine_group) {
    fine_group_ = fine_group;
    work_.twins.clear();
    work_.opened[0].Clear();
    for (const TopUnits& part : parts) {
      for (int64_t i = 0; i < part.size(); ++i) {
        work_.opened[0].Offer(part.Unit(i), part.Score(i));
      }
    }
    work_.opened[0].Finish();
  }

  /// Scores what the query `row` has opened, in the rows of `scores` of its heads, `stride` apart,
  /// from column `at` on, and hides the representatives that lie in opened units.
  void Score(int64_t row, float* scores, int64_t stride, int64_t at) {
    const TopUnits& opened = work_.opened[row];
    work_.first_twin[row] = std::ssize(work_.twins);
    const int64_t columns = Columns(fine_group_);
    for (int64_t i = 0; i < opened.size(); ++i) {
      const int64_t column = at + i * work_.unit_stride;
      if (i + 1 < opened.size()) archive_.PrefetchTokens(opened.Unit(i + 1));
      ScoreUnit(row, opened.Unit(i), scores + column, stride);
      FindTwins(opened.Unit(i), column);
    }
    const int64_t end = at + opened.size() * work_.unit_stride;
    for (int64_t head = 0; head < heads_; ++head) {
      std::fill(scores + head * stride + end, scores + head * stride + at + columns, kHidden);
    }
    work_.first_twin[row + 1] = std::ssize(work_.twins);
    for (const Twin& twin : TwinsOf(row)) {
      for (int64_t head = 0; head < heads_; ++head) scores[head * stride + twin.far] = kHidden;
    }
  }

  /// Adds the opened values to `outputs` [count, D], which `count` rows of `weights`, of the query
  /// `row`, give from column `at` on.
  void AddValues(int64_t row, const float* weights, int64_t stride, int64_t at, int64_t count,
                 float* outputs) {
    const TopUnits& opened = work_.opened[row];
    const int64_t dim = slot_.padded_dim;
    const std::array<ColumnRun, 1> run = {{{0, 0, layout_.unit_tokens}}};
    for (int64_t i = 0; i < opened.size(); ++i) {
      archive_.ReadValues(opened.Unit(i), work_.values.get());
      WeightedRows</*kAdd=*/true>(count, weights + at + i * work_.unit_stride, stride, run,
                                  work_.values.get(), dim, outputs);
    }
  }

  /// Gives the representatives that `row` met as opened tokens the weights that those got.
  void MoveWeights(int64_t row, float* weights, int64_t stride) const {
    for (const Twin& twin : TwinsOf(row)) {
      for (int64_t head = 0; head < heads_; ++head) {
        weights[head * stride + twin.far] = weights[head * stride + twin.opened];
      }
    }
  }

  /// Adds what each unit that `row` has opened got: of the rows of `weights` of its heads, `stride`
  /// apart, from column `at` on, each to be multiplied by its scale. `sums` [U].
  void AddUnitWeights(int64_t row, const float* weights, int64_t stride, int64_t at,
                      std::span<const float> scales, float* sums) const {
    const TopUnits& opened = work_.opened[row];
    for (int64_t i = 0; i < opened.size(); ++i) {
      for (size_t head = 0; head < scales.size(); ++head) {
        const float* unit = weights + static_cast<int64_t>(head) * stride + at;
        const float weight = std::accumulate(unit, unit + layout_.unit_tokens, 0.0F);
        sums[opened.Unit(i)] += scales[head] * weight;
      }
      at += work_.unit_stride;
    }
  }

  void WriteGroup(int64_t group) { archive_.WriteGroup(group); }

 private:
  static constexpr int64_t kGroupsAhead = 3;  // whose sketches are on their way
  static constexpr float kHidden = -std::numeric_limits<float>::infinity();

  /// How many units queries of `fine_group` may open; some may be of sinks only.
  int64_t Units(int64_t fine_group) const {
    return std::max<int64_t>(0, fine_group - 1) * layout_.UnitsPerGroup();
  }

  std::span<const Twin> TwinsOf(int64_t row) const {
    return std::span(work_.twins)
        .subspan(work_.first_twin[row], work_.first_twin[row + 1] - work_.first_twin[row]);
  }

  /// How many of a unit's first tokens are sinks.
  int64_t SinksOf(int64_t unit) const {
    return std::clamp<int64_t>(layout_.hierarchy.sink_tokens - unit * layout_.unit_tokens, 0,
                               layout_.unit_tokens);
  }

  /// The forms of a query; the first is not rotated where nothing far is.
  static constexpr int kPlaced = 0;
  static constexpr int kDistant = 1;

  int FormOf(int64_t group) const {
    return archive_.SeemsDistant(group, fine_group_) ? kDistant : kPlaced;
  }

  /// The block's queries in one form.
  const float* Queries(int form) const {
    if (form == kDistant) return scratch_.distant_queries.get();
    return spec_.FarIsRotated() ? scratch_.near_queries.get() : scratch_.far_queries.get();
  }

  void Begin(int64_t rows, int64_t fine_group) {
    fine_group_ = fine_group;
    work_.twins.clear();
    for (int64_t row = 0; row < rows; ++row) work_.opened[row].Clear();
    const int64_t queries = rows * heads_;
    scan_.SetQueries(kPlaced, Queries(kPlaced), queries);
    if (spec_.max_distance > 0) scan_.SetQueries(kDistant, Queries(kDistant), queries);
  }

  /// Offers the units of `group` to the rows.
  void Scan(int64_t group, int64_t rows) {
    if (const int64_t soon = group + kGroupsAhead; soon < fine_group_ - 1) {
      Prefetch(archive_.Sketches(soon, fine_group_), layout_.HeadSketchBytes());
    }
    const std::byte* sketch = archive_.Sketches(group, fine_group_);
    int64_t unit = group * layout_.UnitsPerGroup();
    for (int64_t i = 0; i < layout_.UnitsPerGroup(); ++i, ++unit) {
      const int64_t sinks = SinksOf(unit);
      if (sinks < layout_.unit_tokens) {
        scan_.SetUnit(sketch, sinks);
        OfferUnit(unit, FormOf(group), rows);
      }
      sketch += layout_.Sketch().bytes;
    }
  }

  /// Offers the unit of the scan to the rows that may open it.
  void OfferUnit(int64_t unit, int form, int64_t rows) {
    if (!work_.opened[0].HasBar() || !scan_.Bound(form, rows, heads_)) {
      return OfferTo(0, rows, unit, form);
    }
    const auto takes = [&](int64_t row) { return work_.opened[row].MayTake(work_.scan.best[row]); };
    int64_t takers = 0;
    for (int64_t row = 0; row < rows; ++row) takers += takes(row) ? 1 : 0;
    // Rows that are scored together share some of the work.
    if (2 * takers > rows) return OfferTo(0, rows, unit, form);
    for (int64_t row = 0; takers > 0 && row < rows; ++row) {
      if (takes(row)) OfferTo(row, 1, unit, form);
    }
  }

  void OfferTo(int64_t first, int64_t count, int64_t unit, int form) {
    scan_.Match(form, first, count, heads_);
    for (int64_t row = first; row < first + count; ++row) {
      work_.opened[row].Offer(unit, work_.scan.best[row]);
    }
  }

  void ScoreUnit(int64_t row, int64_t unit, float* scores, int64_t stride) {
    const int64_t group = unit / layout_.UnitsPerGroup();
    const float* queries = Queries(FormOf(group)) + row * heads_ * spec_.head_dim;
    const bool turned = spec_.FarIsRotated() && FormOf(group) == kPlaced;
    if (turned) {
      // Turning the query back by where the group begins leaves its keys the places in the group.
      for (int64_t head = 0; head < heads_; ++head) {
        const int64_t at = head * spec_.head_dim;
        rotary_->Undo(rotary_->GroupStart(group), queries + at, work_.queries.get() + at);
      }
      queries = work_.queries.get();
    }
    archive_.ReadKeys(unit, turned, {work_.keys.get(), work_.unit_stride});
    Scores(queries, heads_, spec_.head_dim, work_.keys.get(), work_.unit_stride, work_.unit_stride,
           scores, stride);
    for (int64_t head = 0; head < heads_; ++head, scores += stride) {
      std::fill_n(scores, SinksOf(unit), kHidden);
      std::fill(scores + layout_.unit_tokens, scores + work_.unit_stride, kHidden);
    }
  }

  /// Notes the representatives that lie in `unit`, whose scores begin at `column`: those of one far
  /// group, which are in order of position.
  void FindTwins(int64_t unit, int64_t column) {
    const Hierarchy& h = layout_.hierarchy;
    const int64_t token = unit * layout_.unit_tokens;
    for (int level = 1; level <= h.num_levels; ++level) {
      const int64_t group = token / h.GroupTokens(level);
      const GroupRange seen = Hierarchy::FarGroups(level, fine_group_).Existing();
      if (group < seen.first || group >= seen.end) continue;
      const int64_t* first = positions_ + slot_.FarColumn(level, group);
      const int64_t* end = first + h.rank;
      for (const int64_t* at = std::lower_bound(first, end, token); at < end; ++at) {
        // Unsigned, because a slot that somebody has changed may hold anything.
        const uint64_t offset = static_cast<uint64_t>(*at) - static_cast<uint64_t>(token);
        if (offset >= static_cast<uint64_t>(layout_.unit_tokens)) break;
        work_.twins.push_back({at - positions_, column + static_cast<int64_t>(offset)});
      }
      return;
    }
  }

  const AttentionSpec& spec_;
  const SlotLayout& slot_;
  const ArchiveLayout& layout_;
  const Rotary* const rotary_;  // null: nothing is rotated
  const int64_t heads_;
  const int64_t* const positions_;  // [near_begin]
  AttentionScratch& scratch_;
  OpenScratch& work_;
  ArchiveHead<T> archive_;
  SketchScan<T> scan_;
  int64_t fine_group_ = 0;  // of the block
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
