// When a refused caller may come again.
#pragma once

namespace fmaserver {

/// Payload of RESOURCE_EXHAUSTED: seconds, as a decimal number.
inline constexpr char kRetryAfterSeconds[] = "fma.retry_after_seconds";

}  // namespace fmaserver
