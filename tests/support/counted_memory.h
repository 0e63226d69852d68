// Counts what a test program allocates with new. Linking this counts; threads other than the first
// may not allocate meanwhile.
#pragma once

#include <cstddef>

namespace fmaserver::testing {

/// The most bytes that were allocated at a time since the last call of ResetPeakBytes.
size_t PeakBytes();

/// Begins anew with the bytes that are allocated now, which it returns.
size_t ResetPeakBytes();

}  // namespace fmaserver::testing
