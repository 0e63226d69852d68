// How the queries of a block attend to the units that they open: one KV head. docs/model.md,
// "Opened units".
//
// In a row of scores the opened units follow the near part, in order, each padded to
// SlotLayout::kLane columns. Neighbouring queries open mostly the same units, so a block walks the
// units that any of its rows opens, in order, and reads each once.

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
#include "kernels/cpu/unit_choice-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// T: the cache's element type.
template <typename T>
class OpenUnits {
 public:
  /// For the queries of `part`; those of a row are looked for together, if at all.
  OpenUnits(const PackedAttention& weights, const AttentionStep& step, const HeadPart& part,
            int32_t layer, std::byte* head, AttentionScratch& scratch)
      : spec_(weights.spec),
        slot_(step.layout),
        layout_(step.archive),
        rotary_(weights.rotary.get()),
        heads_(part.heads),
        positions_(reinterpret_cast<const int64_t*>(head + slot_.positions_offset)),
        scratch_(scratch),
        work_(scratch.open),
        archive_(weights, step, step.segments[part.segment], layer, part.kv_head, head, scratch),
        choice_(spec_, step, archive_, scratch) {}

  /// Columns that the opened units of a query in `fine_group` take.
  int64_t Columns(int64_t fine_group) const {
    const int64_t units = std::max<int64_t>(0, fine_group - 1) * layout_.UnitsPerGroup();
    return std::min<int64_t>(spec_.open_units, units) * work_.unit_stride;
  }

  /// Looks for what the first `rows` queries of the scratch, in `fine_group`, open.
  void Begin(int64_t rows, int64_t fine_group) {
    fine_group_ = fine_group;
    choice_.Begin(rows, fine_group);
  }
  /// Offers the units of `groups` to them. A single row fetches `next` meanwhile.
  void Look(GroupRange groups, std::span<const std::byte> next) { choice_.Look(groups, next); }
  /// Offers units to one of them that were found elsewhere.
  void Offer(int64_t row, const TopUnits& found) {
    for (const auto& [score, unit] : found.best()) work_.opened[row].Offer(unit, score);
  }
  /// The best of what was offered to one of them.
  const TopUnits& Found(int64_t row) const { return work_.opened[row]; }
  /// All has been offered.
  void Choose() { choice_.Finish(); }

  /// Scores what `rows` queries have opened, in the rows of `scores` of their heads, `stride`
  /// apart, from column `at` on, and hides the representatives that lie in opened units.
  void Score(int64_t rows, float* scores, int64_t stride, int64_t at) {
    work_.visits.clear();
    work_.twins.clear();
    for (int64_t row = 0; row < rows; ++row) {
      float* row_scores = scores + row * heads_ * stride;
      ListUnits(row, at);
      HideRest(row_scores + at, work_.opened[row].size() * work_.unit_stride, stride);
      for (const Twin& twin : TwinsOf(row)) {
        for (int64_t head = 0; head < heads_; ++head)
          row_scores[head * stride + twin.far] = kHidden;
      }
    }
    std::ranges::sort(work_.visits, {}, [](const Visit& visit) {
      return visit.unit * kMaxBlockRows + visit.row;  // one number is compared faster than two
    });
    if (work_.read_ahead.Pays()) {
      ForUnits([&](int64_t unit, auto) { ReadAhead::Ask(archive_.Tokens(unit)); });
    }
    ForUnits([&](int64_t unit, std::span<const Visit> visits) {
      ScoreUnit(unit, visits, scores + at, stride);
    });
  }

  /// Adds the opened values to the `outputs` [queries, D] of the rows that were scored, to which
  /// `weights`, `stride` apart, give what is there from column `at` on.
  void AddValues(const float* weights, int64_t stride, int64_t at, float* outputs) {
    ForUnits([&](int64_t unit, std::span<const Visit> visits) {
      if (archive_.IsWhole()) {
        AddUnit(archive_.Values(unit), visits, weights + at, stride, outputs);
      } else {
        archive_.ReadValues(unit, work_.values.get());
        AddUnit(work_.values.get(), visits, weights + at, stride, outputs);
      }
    });
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
  static constexpr float kHidden = -std::numeric_limits<float>::infinity();

  std::span<const Twin> TwinsOf(int64_t row) const {
    return std::span(work_.twins)
        .subspan(work_.first_twin[row], work_.first_twin[row + 1] - work_.first_twin[row]);
  }

  /// Notes the visits and the twins of a row, whose units' scores begin at column `at`.
  void ListUnits(int64_t row, int64_t at) {
    const TopUnits& opened = work_.opened[row];
    work_.first_twin[row] = std::ssize(work_.twins);
    for (int64_t i = 0; i < opened.size(); ++i) {
      const int64_t column = i * work_.unit_stride;
      work_.visits.push_back({opened.Unit(i), row, column});
      FindTwins(opened.Unit(i), at + column);
    }
    work_.first_twin[row + 1] = std::ssize(work_.twins);
  }

  /// Hides the columns of units that a row does not have, of each head.
  void HideRest(float* scores, int64_t from, int64_t stride) {
    for (int64_t head = 0; head < heads_; ++head, scores += stride) {
      std::fill(scores + from, scores + Columns(fine_group_), kHidden);
    }
  }

  /// Calls use(unit, its visits) for every unit that is visited, in order.
  template <class Use>
  void ForUnits(const Use& use) const {
    std::span<const Visit> rest = work_.visits;
    while (!rest.empty()) {
      const int64_t unit = rest.front().unit;
      const auto next = std::ranges::find_if(rest, [=](const Visit& v) { return v.unit != unit; });
      if (next != rest.end()) archive_.PrefetchTokens(next->unit);
      const auto count = static_cast<size_t>(next - rest.begin());
      use(unit, rest.first(count));
      rest = rest.subspan(count);
    }
  }

  void ScoreUnit(int64_t unit, std::span<const Visit> visits, float* scores, int64_t stride) {
    const int64_t group = unit / layout_.UnitsPerGroup();
    const UnitForm form = archive_.FormOf(group, fine_group_);
    const bool turned = spec_.FarIsRotated() && form == UnitForm::kPlaced;
    const bool copied = turned || !archive_.IsWhole();
    if (copied) archive_.ReadKeys(unit, turned, {work_.keys.get(), work_.unit_stride});
    for (const Visit& visit : visits) {
      const int64_t first = visit.row * heads_;
      const float* queries = QueriesIn(form, spec_, scratch_) + first * spec_.head_dim;
      if (turned) queries = TurnBack(group, queries);
      float* to = scores + first * stride + visit.column;
      if (copied) {
        Scores(queries, heads_, spec_.head_dim, work_.keys.get(), work_.unit_stride,
               work_.unit_stride, to, stride);
      } else {
        Scores(queries, heads_, spec_.head_dim, archive_.Keys(unit), work_.unit_stride,
               work_.unit_stride, to, stride);
      }
      HideSome(unit, to, stride);
    }
  }

  /// Turning the queries of a row back by where a group begins leaves its keys the places in the
  /// group.
  const float* TurnBack(int64_t group, const float* queries) {
    for (int64_t head = 0; head < heads_; ++head) {
      const int64_t at = head * spec_.head_dim;
      rotary_->Undo(rotary_->GroupStart(group), queries + at, work_.queries.get() + at);
    }
    return work_.queries.get();
  }

  /// The sinks of a unit and what it is padded by.
  void HideSome(int64_t unit, float* scores, int64_t stride) const {
    for (int64_t head = 0; head < heads_; ++head, scores += stride) {
      std::fill_n(scores, archive_.SinksOf(unit), kHidden);
      std::fill(scores + layout_.unit_tokens, scores + work_.unit_stride, kHidden);
    }
  }

  template <typename Value>
  void AddUnit(const Value* values, std::span<const Visit> visits, const float* weights,
               int64_t stride, float* outputs) {
    const std::array<ColumnRun, 1> run = {{{0, 0, layout_.unit_tokens}}};
    for (const Visit& visit : visits) {
      const int64_t end = (visit.row + 1) * heads_;
      for (int64_t query = visit.row * heads_; query < end; query += kRowTile) {
        WeightedRows</*kAdd=*/true>(std::min<int64_t>(kRowTile, end - query),
                                    weights + query * stride + visit.column, stride, run, values,
                                    slot_.padded_dim, outputs + query * slot_.padded_dim);
      }
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
  UnitChoice<T> choice_;
  int64_t fine_group_ = 0;  // of the block
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
