// The queries of a single row, prepared for bounds of their scores (row_bound-inl.h,
// narrow_bound-inl.h): what they are multiplied by so that numbers of units have 8 bits, and what
// is added for rounding.

#if defined(FMA_KERNELS_CPU_ROW_QUERIES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_ROW_QUERIES_INL_H_
#undef FMA_KERNELS_CPU_ROW_QUERIES_INL_H_
#else
#define FMA_KERNELS_CPU_ROW_QUERIES_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>

#include "hwy/highway.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/load-inl.h"
#include "kernels/cpu/sketch_bound-inl.h"
#include "kernels/cpu/sketch_scan-inl.h"
#include "kernels/fma/archive_layout.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// T: the cache's element type.
template <typename T>
class RowQueries {
 public:
  /// Of numbers; those beyond it may have been cut.
  static constexpr float kMost = 126.0F;

  /// `rest`: how much smaller than a channel's x the number may be that is multiplied in its place.
  /// `ways`: products with means are added in so many sums.
  RowQueries(const ArchiveLayout& layout, OpenScratch& scratch, float rest, int ways)
      : dim_(layout.head_dim),
        deviation_offset_(layout.Sketch().deviation_offset),
        rest_(rest),
        ways_(static_cast<float>(ways)),
        scan_(scratch.scan),
        work_(scratch.row_bound) {}

  /// Prepares the first `heads` queries of the scan in form number `form` for units like
  /// `sketches`, where null stands for no unit. False: there are no bounds.
  bool Set(int form, int64_t heads, std::span<const std::byte* const> sketches) {
    SetLimits(sketches);
    bool usable = true;
    for (int64_t head = 0; head < heads; ++head) usable &= SetQuery(form, head);
    return usable;
  }

  /// Units with larger numbers than these have no bounds.
  float mean_limit() const { return mean_limit_; }
  float deviation_limit() const { return deviation_limit_; }

 private:
  static constexpr float kMostSlack = 0x1p28F;

  /// The sizes of some numbers, 0 where they are none or huge.
  static HWY_INLINE FloatVec Sizes(FloatVec numbers) {
    const FloatVec sizes = hn::Abs(numbers);
    return hn::IfThenElseZero(hn::Le(sizes, hn::Set(FloatTag(), kHuge)), sizes);
  }

  /// Some times the largest numbers of some of these units.
  void SetLimits(std::span<const std::byte* const> sketches) {
    constexpr int64_t kSamples = 16;
    const FloatTag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const int64_t count = std::ssize(sketches);
    const int64_t samples = std::min(count, kSamples);
    float* reach = work_.reach.get();
    std::fill_n(reach, dim_, 0.0F);
    FloatVec mean = hn::Zero(d);
    for (int64_t i = 0; i < samples; ++i) {
      const std::byte* sketch = sketches[i * count / samples];
      if (sketch == nullptr) continue;
      const auto* means = reinterpret_cast<const T*>(sketch);
      const auto* deviations = reinterpret_cast<const T*>(sketch + deviation_offset_);
      for (int64_t c = 0; c < dim_; c += lanes) {
        mean = hn::Max(Sizes(LoadFloats(means + c)), mean);
        hn::Store(hn::Max(Sizes(LoadFloats(deviations + c)), hn::Load(d, reach + c)), d, reach + c);
      }
    }
    mean_limit_ = 8 * hn::GetLane(hn::MaxOfLanes(d, mean)) + kTiny;
    deviation_limit_ = 8 * *std::max_element(reach, reach + dim_) + kTiny;
  }

  bool SetQuery(int form, int64_t head) {
    const FloatTag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const float* from = &scan_.scaled[(form * scan_.queries + head) * dim_];
    float* gained = &work_.gained[head * dim_];
    FloatVec largest = hn::Zero(d);
    FloatVec squares = hn::Zero(d);
    for (int64_t c = 0; c < dim_; c += lanes) {
      const FloatVec query = hn::Load(d, from + c);
      largest = hn::Max(hn::Abs(hn::Mul(query, hn::Load(d, &work_.reach[c]))), largest);
      squares = hn::MulAdd(query, query, squares);
    }
    const float most = hn::GetLane(hn::MaxOfLanes(d, largest));
    // Most units have no larger numbers than those that were looked at.
    const float gain = most > kTiny ? kMost / (1.25F * most) : 1.0F;
    std::copy_n(from, dim_, &work_.plain[head * dim_]);
    for (int64_t c = 0; c < dim_; ++c) gained[c] = from[c] * gain;
    SetSlack(head, gain, std::sqrt(hn::GetLane(hn::SumOfLanes(d, squares))) * kUp);
    const float step = scan_.steps[form * scan_.queries + head];
    work_.steps[head] = step;
    work_.scales[head] = kLevelStep * step / gain;
    return step <= kHuge && gain <= kHuge && work_.scales[head] <= kHuge &&
           work_.slacks[head] <= kMostSlack;
  }

  /// What is added to a query's sums of integers, and to its products with means. `length` is the
  /// query's.
  void SetSlack(int64_t head, float gain, float length) {
    const auto dim = static_cast<float>(dim_);
    // Levels are 10 at most; in scores numbers are rounded too.
    const float of_numbers = 10 * rest_ * dim;
    const float of_scores = 5.1F * dim * gain * deviation_limit_;
    const float of_floats = 0x1p-16F * 10 * (kMost + 1) * dim;
    work_.slacks[head] = kUp * (of_numbers + of_scores + of_floats) + 1;
    work_.mean_slacks[head] =
        kUp * (dim / ways_ + 8) * 0x1p-23F * std::sqrt(dim) * mean_limit_ * length;
  }

  const int64_t dim_;
  const int64_t deviation_offset_;
  const float rest_;
  const float ways_;
  ScanScratch& scan_;
  RowBoundScratch& work_;
  float mean_limit_ = 0;
  float deviation_limit_ = 0;
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
