// The learned downsampling: how one input of a group enters its p summaries.

#if defined(FMA_KERNELS_CPU_DOWNSAMPLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_DOWNSAMPLE_INL_H_
#undef FMA_KERNELS_CPU_DOWNSAMPLE_INL_H_
#else
#define FMA_KERNELS_CPU_DOWNSAMPLE_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "kernels/cpu/attention_weights.h"
#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

HWY_INLINE FloatVec ScaleAt(float scale, int64_t) { return hn::Set(FloatTag(), scale); }
HWY_INLINE FloatVec ScaleAt(const float* scale, int64_t c) { return LoadFloats(scale + c); }

/// sums += scale * x over `n` channels, a multiple of SlotLayout::kLane. `scale` is a float for all
/// channels or a pointer to one per channel.
template <typename Scale>
HWY_INLINE void MulAddTo(Scale scale, const float* HWY_RESTRICT x, int64_t n,
                         float* HWY_RESTRICT sums) {
  const FloatTag d;
  for (int64_t c = 0; c < n; c += static_cast<int64_t>(hn::Lanes(d))) {
    hn::Store(hn::MulAdd(ScaleAt(scale, c), hn::Load(d, x + c), hn::Load(d, sums + c)), d,
              sums + c);
  }
}

/// Adds input number `input` of a level's group, x [D], to the sums [p, D] that become its
/// summaries. The first input starts the sums, so what was there before does not matter. With
/// averages the sums are yet to be divided by the tokens of a share.
inline void AddToSummaries(const PackedAttention& weights, Downsampled kind, int level,
                           int64_t input, const float* x, float* sums) {
  const AttentionSpec& spec = weights.spec;
  const DownsamplingLayout& at = weights.downsampling_layout;
  const int64_t rank = spec.hierarchy.rank;
  const int64_t dim = at.vector / rank;
  if (spec.downsampling == Downsampling::kAverage) {
    if (input == 0) std::fill_n(sums, rank * dim, 0.0F);
    MulAddTo(1.0F, x, dim, sums + input / spec.hierarchy.TokensPerSummary(level) * dim);
    return;
  }
  const int index = DownsamplingIndex(spec, level);
  const float* packed = weights.Downsampling(kind);
  if (input == 0) std::copy_n(packed + at.Bias(index), rank * dim, sums);
  const float* tap = packed + at.Taps(index, input);
  for (int64_t r = 0; r < rank; ++r) {
    if (at.mixed == 1) {
      MulAddTo(tap + r * dim, x, dim, sums + r * dim);
    } else {
      for (int64_t c = 0; c < at.mixed; ++c) {
        MulAddTo(x[c], tap + (r * at.mixed + c) * dim, dim, sums + r * dim);
      }
    }
  }
}

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
