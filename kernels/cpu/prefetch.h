// Telling the processor what will be read.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fmaserver::kernels::cpu {

inline constexpr int64_t kCacheLine = 64;

/// For what lies anywhere: processors do not look ahead beyond a page by themselves. Into the
/// second cache, because the first can wait for fewer lines at a time. Always inline, as
/// whatever does nothing but call it must be: GCC takes a function that only prefetches for one
/// that does nothing, and drops its calls. Code of every instruction set may call it.
[[gnu::always_inline]] inline void Prefetch(const std::byte* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += kCacheLine) __builtin_prefetch(from + i, 0, 2);
}

}  // namespace fmaserver::kernels::cpu
