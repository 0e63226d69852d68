// Counts what a test program allocates with new; linking this is enough. Only the first thread may
// allocate meanwhile.
#pragma once

#include <cstddef>

namespace fmaserver::testing {

/// The most bytes that were allocated at the same time since the last call of ResetPeakBytes.
size_t PeakBytes();

/// Starts again from the bytes that are allocated now, and returns their number.
size_t ResetPeakBytes();

}  // namespace fmaserver::testing
