// Random ids and bytes.
#pragma once

#include <cstddef>
#include <string>

namespace fmaserver {

inline constexpr size_t kRandomIdChars = 22;

/// kRandomIdChars characters of A-Z a-z 0-9, made of over 120 random bits of the operating system.
std::string RandomId();

/// Up to 256 random bytes of the operating system.
std::string RandomBytes(size_t count);

}  // namespace fmaserver
