#include "kernels/cuda/unit_cache.h"

#include <algorithm>
#include <limits>

#include "absl/memory/memory.h"
#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels::cuda {
namespace {

using Number = DeviceUnitCache::Number;

constexpr int64_t kReads = 2;
constexpr int64_t kNumberBytes = sizeof(Number);

}  // namespace

absl::StatusOr<std::unique_ptr<UnitCache>> UnitCache::Create(int device,
                                                             const ArchiveLayout& layout,
                                                             int64_t bytes) {
  const int64_t heads = layout.num_kv_heads;
  DeviceUnitCache view{
      .line_bytes = SlotLayout::RoundUp(layout.UnitTokenBytes(), DeviceUnitCache::kAlignment)};
  const int64_t lines_of_sets = heads * DeviceUnitCache::kWays;
  const int64_t of_numbers = kNumberBytes * (heads + kReads);
  view.sets = (bytes - of_numbers) / (lines_of_sets * (view.line_bytes + 2 * kNumberBytes));
  // Lines are numbered by int32 (UnitPlace).
  view.sets = std::min(view.sets, std::numeric_limits<int32_t>::max() / lines_of_sets);
  if (view.sets < 1) return nullptr;
  const int64_t lines = view.sets * lines_of_sets;

  if (absl::Status status = UseDevice(device); !status.ok()) return status;
  auto memory = Memory::Allocate(Memory::Kind::kDevice, lines * view.line_bytes);
  if (!memory.ok()) return memory.status();
  auto numbers = Memory::Allocate(Memory::Kind::kDevice, 2 * lines * kNumberBytes + of_numbers);
  if (!numbers.ok()) return numbers.status();
  auto reads = Memory::Allocate(Memory::Kind::kPinned, kReads * kNumberBytes);
  if (!reads.ok()) return reads.status();
  auto stream = Stream::Create();
  if (!stream.ok()) return stream.status();
  absl::Status cleared = (*stream)->Fill(numbers->data(), 0, numbers->bytes());
  cleared.Update((*stream)->Synchronize());
  if (!cleared.ok()) return cleared;
  view.lines = memory->data();
  view.keys = numbers->As<Number>();
  view.uses = view.keys + lines;
  view.clocks = view.uses + lines;
  view.reads = view.clocks + heads;
  return absl::WrapUnique(new UnitCache(device, layout, view, *std::move(memory),
                                        *std::move(numbers), *std::move(reads),
                                        *std::move(stream)));
}

absl::StatusOr<UnitReads> UnitCache::Reads() {
  const std::lock_guard lock(mutex_);
  if (absl::Status status = UseDevice(device_); !status.ok()) return status;
  absl::Status status =
      stream_->CopyToHost(reads_on_host_.data(), view_.reads, kReads * kNumberBytes);
  status.Update(stream_->Synchronize());
  if (!status.ok()) return status;
  const auto* reads = reads_on_host_.As<Number>();
  return UnitReads{.from_device = static_cast<int64_t>(reads[0]),
                   .from_host = static_cast<int64_t>(reads[1])};
}

}  // namespace fmaserver::kernels::cuda
