// How every program ends when it is not its own matter that failed.
#pragma once

namespace fmaserver {

/// Standard output could not be written: a full disk, a closed descriptor.
inline constexpr int kOutputLost = 1;
inline constexpr int kWrongUsage = 2;

}  // namespace fmaserver
