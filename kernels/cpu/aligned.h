// Owned, aligned, uninitialised memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels {

struct FreeDeleter {
  void operator()(void* memory) const { std::free(memory); }
};

template <typename T>
using AlignedArray = std::unique_ptr<T[], FreeDeleter>;

/// `count` elements, aligned to SlotLayout::kAlignment, or null when there is not enough memory.
template <typename T>
AlignedArray<T> TryAllocateAligned(int64_t count) {
  const int64_t bytes =
      SlotLayout::RoundUp(count * static_cast<int64_t>(sizeof(T)), SlotLayout::kAlignment);
  return AlignedArray<T>(
      static_cast<T*>(std::aligned_alloc(SlotLayout::kAlignment, static_cast<size_t>(bytes))));
}

/// The same, but throws std::bad_alloc. For scratch whose size is small by construction.
template <typename T>
AlignedArray<T> AllocateAligned(int64_t count) {
  AlignedArray<T> memory = TryAllocateAligned<T>(count > 0 ? count : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace fmaserver::kernels
