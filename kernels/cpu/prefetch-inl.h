// Telling the processor what will be read.

#if defined(FMA_KERNELS_CPU_PREFETCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_PREFETCH_INL_H_
#undef FMA_KERNELS_CPU_PREFETCH_INL_H_
#else
#define FMA_KERNELS_CPU_PREFETCH_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// For what lies anywhere: processors do not look ahead beyond a page by themselves. Into the
/// second cache, because the first can wait for fewer lines at a time. Always inline, as
/// whatever does nothing but call it must be: GCC takes a function that only prefetches for one
/// that does nothing, and drops its calls.
HWY_INLINE void Prefetch(const std::byte* from, int64_t bytes) {
  constexpr int64_t kCacheLine = 64;
  for (int64_t i = 0; i < bytes; i += kCacheLine) __builtin_prefetch(from + i, 0, 2);
}

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
