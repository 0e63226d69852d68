// How much this process writes.
#pragma once

#include <cstdint>

namespace fmaserver::testing {

/// The bytes that this process has written so far, wherever; -1 where the system does not count.
int64_t BytesWritten();

}  // namespace fmaserver::testing
