// Memory in huge pages, for what steps read again and again: weights, and sketches of archives.
// With small pages a step spends much of its time on looking up where they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace fmaserver::kernels {

/// A part of a block of memory, which is freed with the last of its parts.
using BlockPart = std::shared_ptr<std::byte[]>;

/// `bytes` > 0, aligned to SlotLayout::kAlignment, uninitialised, in huge pages where the system
/// has them; what is never written takes up to one of them. Null when there is not enough memory.
/// Parts that are allocated one after the other share blocks. Thread-safe.
BlockPart TryAllocateInHugePages(int64_t bytes);

}  // namespace fmaserver::kernels
