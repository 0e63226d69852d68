#include "kernels/cpu/sketch_pool.h"

#include <algorithm>
#include <bit>
#include <iterator>

namespace fmaserver::kernels {

SketchColumn SketchPool::TryTake(int64_t heads, int64_t head_bytes) {
  const std::lock_guard lock(mutex_);
  Blocks& blocks = blocks_[{heads, head_bytes}];
  if (!FindFree(blocks) && !Grow(blocks, heads * StrideOf(head_bytes))) return {};
  Block& block = blocks.all[blocks.next / kGroups];
  const int64_t number = blocks.next % kGroups;
  block.free &= ~(uint64_t{1} << number);
  ++blocks.next;
  return {block.memory.get() + number * head_bytes, heads, head_bytes, StrideOf(head_bytes)};
}

void SketchPool::Give(const SketchColumn& column) {
  const std::lock_guard lock(mutex_);
  for (Block& block : blocks_[{column.heads, column.head_bytes}].all) {
    const int64_t offset = column.first - block.memory.get();
    if (offset < 0 || offset >= column.stride) continue;
    block.free |= uint64_t{1} << offset / column.head_bytes;
    return;
  }
}

/// Moves `next` to a free column: of the same block behind it, or else the first of all.
bool SketchPool::FindFree(Blocks& blocks) {
  const auto block_of_next = static_cast<size_t>(blocks.next / kGroups);
  if (block_of_next < blocks.all.size()) {
    const uint64_t behind = blocks.all[block_of_next].free >> blocks.next % kGroups;
    blocks.next += std::countr_zero(behind);
    if (behind != 0) return true;
  }
  const auto some = std::ranges::find_if(blocks.all, [](const Block& b) { return b.free != 0; });
  if (some == blocks.all.end()) return false;
  blocks.next = (some - blocks.all.begin()) * kGroups + std::countr_zero(some->free);
  return true;
}

/// Adds a block, with `next` in front of it.
bool SketchPool::Grow(Blocks& blocks, int64_t bytes) {
  BlockPart memory = TryAllocateInHugePages(bytes);
  if (memory == nullptr) return false;
  blocks.next = std::ssize(blocks.all) * kGroups;
  blocks.all.push_back({std::move(memory)});
  return true;
}

}  // namespace fmaserver::kernels
