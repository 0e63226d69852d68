// Random ids.
#pragma once

#include <cstddef>
#include <string>

namespace fmaserver {

inline constexpr size_t kRandomIdChars = 22;

/// kRandomIdChars of A-Z a-z 0-9 from the random bits of the operating system: over 120 bits.
std::string RandomId();

}  // namespace fmaserver
