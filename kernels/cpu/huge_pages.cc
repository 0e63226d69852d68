#include "kernels/cpu/huge_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kBlock = 4 * kHugePage;

struct Block {
  AlignedArray<std::byte> memory;
  int64_t bytes = 0;
  int64_t used = 0;
};

/// Null when there is not enough memory.
AlignedArray<std::byte> InHugePages(int64_t bytes) {
  const auto size = static_cast<size_t>(bytes);
  AlignedArray<std::byte> memory(static_cast<std::byte*>(std::aligned_alloc(kHugePage, size)));
  // Without huge pages it is memory all the same.
  if (memory != nullptr) static_cast<void>(madvise(memory.get(), size, MADV_HUGEPAGE));
  return memory;
}

std::shared_ptr<Block> MakeBlock(int64_t bytes) {
  auto block = std::make_shared<Block>();
  block->bytes = SlotLayout::RoundUp(bytes, kHugePage);
  block->memory = InHugePages(block->bytes);
  return block->memory == nullptr ? nullptr : block;
}

}  // namespace

BlockPart TryAllocateInHugePages(int64_t bytes) {
  static std::mutex mutex;
  static std::weak_ptr<Block> newest;
  bytes = SlotLayout::RoundUp(bytes, SlotLayout::kAlignment);
  const std::lock_guard lock(mutex);
  std::shared_ptr<Block> block = newest.lock();
  if (block == nullptr || block->bytes - block->used < bytes) {
    block = MakeBlock(std::max(bytes, kBlock));
    if (block == nullptr) return nullptr;
    newest = block;
  }
  std::byte* part = block->memory.get() + block->used;
  block->used += bytes;
  return {block, part};
}

AlignedArray<std::byte> TryAllocateAlone(int64_t bytes) {
  if (bytes < kBlock) return TryAllocateAligned<std::byte>(bytes);
  return InHugePages(SlotLayout::RoundUp(bytes, kHugePage));
}

}  // namespace fmaserver::kernels
