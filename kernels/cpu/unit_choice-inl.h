// Which units the queries of a block open: one KV head. docs/model.md, "Opened units".
//
// The archive is looked through in pieces of consecutive units that are met in one form. Where
// there are bounds (sketch_bound-inl.h), a piece's bounds come first. Then each row scores the
// units of the largest bounds, and of the others only those whose bounds are not below the least of
// the best scores.

#if defined(FMA_KERNELS_CPU_UNIT_CHOICE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_UNIT_CHOICE_INL_H_
#undef FMA_KERNELS_CPU_UNIT_CHOICE_INL_H_
#else
#define FMA_KERNELS_CPU_UNIT_CHOICE_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

#include "hwy/highway.h"
#include "kernels/cpu/archive-inl.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/narrow_bound-inl.h"
#include "kernels/cpu/prefetch.h"
#include "kernels/cpu/row_bound-inl.h"
#include "kernels/cpu/sketch_bound-inl.h"
#include "kernels/cpu/sketch_scan-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// T: the cache's element type.
template <typename T>
class UnitChoice {
 public:
  UnitChoice(const AttentionSpec& spec, const AttentionStep& step, const ArchiveHead<T>& archive,
             AttentionScratch& scratch)
      : spec_(spec),
        layout_(step.archive),
        heads_(spec.QueriesPerKvHead()),
        archive_(archive),
        scratch_(scratch),
        work_(scratch.open),
        scan_(layout_, work_),
        bound_(layout_, work_),
        row_bound_(layout_, work_) {}

  /// For the first `rows` queries of the scratch, in `fine_group`.
  void Begin(int64_t rows, int64_t fine_group) {
    rows_ = rows;
    fine_group_ = fine_group;
    for (int64_t row = 0; row < rows; ++row) work_.opened[row].Clear();
  }

  /// Offers the units of `groups` to the rows. `next`: OpenUnits::Look.
  void Look(GroupRange groups, std::span<const std::byte> next) {
    if (groups.first >= groups.end) return;
    if (rows_ > 1) next = {};  // what many rows read is in the cache after the first
    for (const UnitForm form : {UnitForm::kPlaced, UnitForm::kDistant}) {
      if (form == UnitForm::kDistant && spec_.max_distance == 0) break;
      scan_.SetQueries(static_cast<int>(form), QueriesIn(form, spec_, scratch_), rows_ * heads_);
    }
    const int64_t most = std::max<int64_t>(1, MostUnits() / layout_.UnitsPerGroup());
    for (int64_t first = groups.first; first < groups.end;) {
      const UnitForm form = archive_.FormOf(first, fine_group_);
      int64_t end = first + 1;
      while (end < groups.end && end - first < most && archive_.FormOf(end, fine_group_) == form) {
        ++end;
      }
      next_ = end == groups.end ? next : std::span<const std::byte>();
      LookAt({first, end}, form);
      first = end;
    }
  }

  /// Leaves what each row opens in the scratch.
  void Finish() {
    for (int64_t row = 0; row < rows_; ++row) work_.opened[row].Finish();
  }

 private:
  static constexpr int64_t kUnitsAhead = 12;  // whose sketches are on their way
  static constexpr size_t kWantedAhead = 4;   // the same where each is scored
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();
  static constexpr float kDone = -kInfinity;  // in place of a bound

  /// Of a piece; few rows look at more together.
  int64_t MostUnits() const {
    return work_.most_bounds / rows_ / SlotLayout::kLane * SlotLayout::kLane;
  }

  /// At units of one piece.
  void LookAt(GroupRange groups, UnitForm form) {
    form_ = static_cast<int>(form);
    first_unit_ = groups.first * layout_.UnitsPerGroup();
    const int64_t bytes = layout_.Sketch().bytes;
    const int64_t of_group = layout_.UnitsPerGroup();
    work_.sketches.resize((groups.end - groups.first) * of_group);
    const std::byte** to = work_.sketches.data();
    for (int64_t group = groups.first; group < groups.end; ++group, to += of_group) {
      const std::byte* sketch = archive_.Sketches(group, fine_group_);
      for (int64_t i = 0; i < of_group; ++i) to[i] = sketch + i * bytes;
    }
    // Units of sinks only are never opened.
    for (int64_t i = 0; SinksOf(i) == layout_.unit_tokens; ++i) work_.sketches[i] = nullptr;
    const int64_t units = std::ssize(work_.sketches);
    if ((BoundsRow() || SketchBound<SketchNumber<T>>::Serves(layout_)) &&
        (work_.opened[0].IsFull() || units > spec_.open_units)) {
      SetBounds(units);
      Take();
    } else {
      for (int64_t i = 0; i < units; ++i) {
        PrefetchSketch(i + kUnitsAhead);
        Score(i, AllRows());
      }
    }
  }

  /// How many of the first tokens of unit `i` of the piece are sinks.
  int64_t SinksOf(int64_t i) const { return archive_.SinksOf(first_unit_ + i); }

  /// Whether there are bounds for a single row, which this is.
  bool BoundsRow() const { return rows_ == 1 && RowBound<SketchNumber<T>>::Serves(layout_); }

  /// A bit for each row of the block.
  uint64_t AllRows() const { return ~uint64_t{0} >> (kMaxBlockRows - rows_); }

  /// Offers unit `i` of the piece to those of the rows whose bits are set. They share its levels.
  void Score(int64_t i, uint64_t rows) {
    const std::byte* sketch = work_.sketches[i];
    if (sketch == nullptr) return;
    scan_.SetUnit(sketch, SinksOf(i), std::popcount(rows) * heads_);
    while (rows != 0) {
      const int64_t first = std::countr_zero(rows);
      const int64_t count = std::countr_one(rows >> first);
      scan_.Match(form_, first, count, heads_);
      for (int64_t row = first; row < first + count; ++row) {
        Offer(i, row);
        rows &= ~(uint64_t{1} << row);
      }
    }
  }

  void Offer(int64_t i, int64_t row) {
    work_.opened[row].Offer(first_unit_ + i, work_.scan.best[row]);
  }

  HWY_INLINE void PrefetchSketch(int64_t i) const {
    if (i >= std::ssize(work_.sketches) || work_.sketches[i] == nullptr) return;
    const int64_t bytes = layout_.Sketch().bytes;
    // Where sketches lie in a row processors do it themselves, and better.
    if (i > 0 && work_.sketches[i] - work_.sketches[i - 1] == bytes) return;
    Prefetch(work_.sketches[i], bytes);
  }

  void SetBounds(int64_t units) {
    stride_ = SlotLayout::RoundUp(units, SlotLayout::kLane);
    if (BoundsRow()) {
      SetRowBounds(units);
    } else {
      SetBlockBounds(units);
    }
    for (int64_t i = units; i < stride_; ++i) Fill(work_.bounds.get() + i, kDone);
  }

  void SetRowBounds(int64_t units) {
    float* bounds = work_.bounds.get();
    row_bound_.Match(form_, heads_, work_.sketches, next_, bounds);
    for (int64_t i = 0; i < units && SinksOf(i) > 0; ++i) {
      bounds[i] = work_.sketches[i] == nullptr ? kDone : kInfinity;
    }
  }

  void SetBlockBounds(int64_t units) {
    bound_.SetQueries(form_, rows_ * heads_, work_.sketches);
    constexpr int64_t kTogether = BoundScratch::kUnits;
    for (int64_t i = 0; i < units; ++i) {
      const std::byte* sketch = work_.sketches[i];
      float* bounds = work_.bounds.get() + i;
      PrefetchSketch(i + kUnitsAhead);
      if (i % kTogether == 0) {
        const auto rest = std::span(work_.sketches).subspan(i);
        bound_.MatchMeans(rest.first(std::min<size_t>(kTogether, rest.size())));
      }
      if (sketch != nullptr && bound_.SetUnit(sketch, SinksOf(i), i % kTogether)) {
        bound_.Match(heads_, bounds, stride_);
      } else {
        Fill(bounds, sketch == nullptr ? kDone : kInfinity);
      }
    }
  }

  /// The bounds of one unit and each row.
  void Fill(float* bounds, float value) const {
    for (int64_t row = 0; row < rows_; ++row) bounds[row * stride_] = value;
  }

  /// Scores the units of the piece that rows may open: the likely ones first, so that few of the
  /// others count then. Neighbouring rows want many of the same units, and score them together.
  void Take() {
    work_.wanted.resize(stride_);
    for (int64_t row = 0; row < rows_; ++row) {
      WantFrom(std::max(work_.opened[row].Bar(), LikelyBar(row)), row);
    }
    ScoreWanted();
    for (int64_t row = 0; row < rows_; ++row) WantFrom(work_.opened[row].Bar(), row);
    ScoreWanted();
  }

  float& BoundOf(int64_t i, int64_t row) { return work_.bounds[row * stride_ + i]; }
  void Want(int64_t i, int64_t row) {
    if (work_.wanted[i] == 0) work_.listed.push_back(i);
    work_.wanted[i] |= uint64_t{1} << row;
  }

  /// At least as many bounds of a row as units are opened are not below it, and not many more: of
  /// the largest ones in each lane of vectors the one with that rank. kDone: of very many units.
  float LikelyBar(int64_t row) const {
    const FloatTag d;
    constexpr int64_t kMost = 8;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const int64_t of_lane = std::min(kMost, 2 * ((spec_.open_units + lanes - 1) / lanes));
    FloatVec largest[kMost];  // in descending order
    for (FloatVec& v : largest) v = hn::Set(d, kDone);
    const float* bounds = &work_.bounds[row * stride_];
    for (int64_t i = 0; i < stride_; i += lanes) {
      FloatVec next = hn::Load(d, bounds + i);
      for (int64_t k = 0; k < of_lane; ++k) {
        const FloatVec larger = hn::Max(largest[k], next);
        next = hn::Min(largest[k], next);
        largest[k] = larger;
      }
    }
    HWY_ALIGN float candidates[kMost * hn::MaxLanes(d)];
    for (int64_t k = 0; k < of_lane; ++k) hn::Store(largest[k], d, candidates + k * lanes);
    float bar = kDone;
    for (int64_t i = 0; i < of_lane * lanes; ++i) {
      const FloatVec candidate = hn::Set(d, candidates[i]);
      size_t not_below = 0;
      for (int64_t k = 0; k < of_lane; ++k) {
        not_below += hn::CountTrue(d, hn::Ge(largest[k], candidate));
      }
      if (static_cast<int64_t>(not_below) >= spec_.open_units) bar = std::max(bar, candidates[i]);
    }
    return bar;
  }

  void ScoreWanted() {
    const std::vector<int64_t>& listed = work_.listed;
    for (size_t n = 0; n < listed.size(); ++n) {
      if (n + kWantedAhead < listed.size()) {
        Prefetch(work_.sketches[listed[n + kWantedAhead]], layout_.Sketch().bytes);
      }
      const uint64_t rows = StillWanted(listed[n]);
      if (rows != 0) Score(listed[n], rows);
    }
    work_.listed.clear();
  }

  /// Of the rows that want unit `i`, those whose bars have not risen above its bound. None of them
  /// wants it again.
  uint64_t StillWanted(int64_t i) {
    uint64_t still = 0;
    for (uint64_t rows = std::exchange(work_.wanted[i], 0); rows != 0; rows &= rows - 1) {
      const int row = std::countr_zero(rows);
      if (BoundOf(i, row) < work_.opened[row].Bar()) continue;
      BoundOf(i, row) = kDone;
      still |= uint64_t{1} << row;
    }
    return still;
  }

  /// The row wants the units of the piece whose bounds are not below `bar`.
  void WantFrom(float bar, int64_t row) {
    const FloatTag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const float* bounds = &work_.bounds[row * stride_];
    for (int64_t first = 0; first < stride_; first += lanes) {
      const auto below = hn::Lt(hn::Load(d, bounds + first), hn::Set(d, bar));
      if (hn::AllTrue(d, below)) continue;
      uint64_t bits = 0;
      hn::StoreMaskBits(d, hn::Not(below), reinterpret_cast<uint8_t*>(&bits));
      for (; bits != 0; bits &= bits - 1) {
        const int64_t i = first + std::countr_zero(bits);
        if (bounds[i] != kDone) Want(i, row);
      }
    }
  }

  const AttentionSpec& spec_;
  const ArchiveLayout& layout_;
  const int64_t heads_;
  const ArchiveHead<T>& archive_;
  AttentionScratch& scratch_;
  OpenScratch& work_;
  SketchScan<SketchNumber<T>> scan_;
  SketchBound<SketchNumber<T>> bound_;
  RowBound<SketchNumber<T>> row_bound_;

  // Of the block:
  int64_t rows_ = 0;
  int64_t fine_group_ = 0;

  // Of the piece:
  int form_ = 0;
  int64_t first_unit_ = 0;
  int64_t stride_ = 0;               // from one row's bounds to the next's
  std::span<const std::byte> next_;  // to fetch meanwhile
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
