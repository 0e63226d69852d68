#include "kernels/cpu/huge_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "kernels/cpu/aligned.h"
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

std::shared_ptr<Block> MakeBlock(int64_t bytes) {
  auto block = std::make_shared<Block>();
  block->bytes = SlotLayout::RoundUp(bytes, kHugePage);
  const auto size = static_cast<size_t>(block->bytes);
  block->memory.reset(static_cast<std::byte*>(std::aligned_alloc(kHugePage, size)));
  if (block->memory == nullptr) return nullptr;
  // Without huge pages it is memory all the same.
  static_cast<void>(madvise(block->memory.get(), size, MADV_HUGEPAGE));
  return block;
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

}  // namespace fmaserver::kernels
