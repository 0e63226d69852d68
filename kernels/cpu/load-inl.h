// Loads of any element type as float32 lanes. Included once per target, so it has no ordinary
// include guard.

#if defined(FMA_KERNELS_CPU_LOAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_LOAD_INL_H_
#undef FMA_KERNELS_CPU_LOAD_INL_H_
#else
#define FMA_KERNELS_CPU_LOAD_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/host/host_element.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Up to 16 lanes; SlotLayout::kLane and CpuLinear::kPanel are multiples of every possible number.
/// The numbers of an archive may lie anywhere, so loads need no alignment.
using FloatTag = hn::CappedTag<float, 16>;
using FloatVec = hn::Vec<FloatTag>;

HWY_INLINE FloatVec LoadFloats(const float* from) { return hn::LoadU(FloatTag(), from); }

HWY_INLINE FloatVec LoadFloats(const BFloat16* from) {
  const hn::Rebind<hwy::bfloat16_t, FloatTag> d16;
  return hn::PromoteTo(FloatTag(), hn::LoadU(d16, reinterpret_cast<const hwy::bfloat16_t*>(from)));
}

HWY_INLINE FloatVec LoadFloats(const Float16* from) {
  const hn::Rebind<hwy::float16_t, FloatTag> d16;
  return hn::PromoteTo(FloatTag(), hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(from)));
}

HWY_INLINE FloatVec LoadFloats(const int8_t* from) {
  const hn::Rebind<int8_t, FloatTag> d8;
  const hn::RebindToSigned<FloatTag> d32;
  return hn::ConvertTo(FloatTag(), hn::PromoteTo(d32, hn::LoadU(d8, from)));
}

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
