#include "kernels/cuda/step_data.h"

#include <algorithm>
#include <utility>

#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels::cuda {
namespace {

constexpr int64_t kAlignment = 64;

}  // namespace

absl::StatusOr<StepData::Range> StepData::Take(int64_t bytes) {
  bytes = SlotLayout::RoundUp(std::max<int64_t>(bytes, 1), kAlignment);
  if (blocks_.empty() || blocks_.back().host.bytes() - blocks_.back().used < bytes) {
    next_bytes_ = std::max(2 * next_bytes_, bytes);
    auto host = Memory::Allocate(Memory::Kind::kPinned, next_bytes_);
    if (!host.ok()) return host.status();
    auto device = Memory::Allocate(Memory::Kind::kDevice, next_bytes_);
    if (!device.ok()) return device.status();
    blocks_.push_back({*std::move(host), *std::move(device), 0});
  }
  Block& block = blocks_.back();
  const int64_t offset = std::exchange(block.used, block.used + bytes);
  return Range{block.host.data() + offset, block.device.data() + offset};
}

absl::Status StepData::Upload(Stream& stream) const {
  for (const Block& block : blocks_) {
    if (block.used == 0) continue;
    absl::Status status = stream.CopyToDevice(block.device.data(), block.host.data(), block.used);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

bool StepData::Clear() {
  // The last block is the largest: more than all before it together.
  const bool changes = blocks_.size() > 1;
  if (changes) blocks_.erase(blocks_.begin(), blocks_.end() - 1);
  for (Block& block : blocks_) block.used = 0;
  return changes;
}

}  // namespace fmaserver::kernels::cuda
