// Measuring what other processors would do.
#pragma once

#include <cstdint>
#include <string>

#include "hwy/targets.h"
#include "kernels/cpu/simd.h"

namespace fmaserver::bench {

/// Makes kernels use `instructions`, AVX3, AVX2 or SCALAR, from now on; empty: the best that there
/// is. False: this processor does not have them. Called before any kernel.
inline bool UseInstructions(const std::string& instructions) {
  if (instructions.empty()) return true;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if ((target & HWY_DISABLED_TARGETS) != 0 || instructions != hwy::TargetName(target)) continue;
    hwy::SetSupportedTargetsForTest(target);
    return true;
  }
  return false;
}

}  // namespace fmaserver::bench
