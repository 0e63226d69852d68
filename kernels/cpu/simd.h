// Which instruction sets the kernels are compiled for; the best one present is chosen at run time.
// Include before hwy/foreach_target.h. x86-64: AVX-512, AVX2, and plain scalar code for anything
// older. ARM: NEON; SVE's vectors have no size, and kernels keep arrays of vectors.
#pragma once

#ifdef HWY_DISABLED_TARGETS
#undef HWY_DISABLED_TARGETS
#endif
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

#include "hwy/detect_targets.h"
