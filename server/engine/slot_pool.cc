#include "server/engine/slot_pool.h"

#include <cassert>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::engine {

kernels::SlotHandle Slot::handle() const { return {pool_->memory_.get(), index_}; }

void Slot::Release() {
  if (pool_ != nullptr) pool_->free_.push_back(index_);
  pool_ = nullptr;
}

absl::StatusOr<SnapshotPtr> Slot::Save(int64_t tokens) const {
  const kernels::SlotLayout& layout = pool_->memory_->layout;
  auto snapshot = std::make_shared<Snapshot>(tokens, layout.slot_bytes, layout.type);
  const absl::Status status = pool_->backend_.SaveSlot(handle(), snapshot->mutable_bytes());
  if (!status.ok()) return status;
  return snapshot;
}

absl::Status Slot::CopyFrom(const Slot& other) {
  return pool_->backend_.CopySlot(other.handle(), handle());
}

absl::Status Slot::Restore(const Snapshot& snapshot) {
  const auto bytes = static_cast<int64_t>(snapshot.bytes().size());
  const int64_t allowed = pool_->memory_->layout.slot_bytes;
  if (bytes != allowed) {
    return Refusal("state", Words{Concat(bytes, " bytes")}, Concat(allowed, " bytes"));
  }
  return pool_->backend_.RestoreSlot(snapshot.bytes(), handle());
}

absl::StatusOr<std::unique_ptr<SlotPool>> SlotPool::Create(kernels::Backend& backend,
                                                           const kernels::SlotLayout& layout,
                                                           int32_t num_slots) {
  const int64_t slot_bytes = layout.slot_bytes;
  int64_t bytes = 0;
  if (__builtin_mul_overflow(slot_bytes, int64_t{num_slots}, &bytes)) {
    return absl::ResourceExhaustedError(
        absl::StrCat(num_slots, " slots of ", slot_bytes, " bytes: more than can be addressed"));
  }
  auto memory = backend.AllocateSlots(layout, num_slots);
  if (absl::IsUnimplemented(memory.status())) return memory.status();  // fewer would not help
  if (!memory.ok()) {
    return absl::Status(
        memory.status().code(),
        absl::StrCat("cannot hold ", num_slots, " slots of ", slot_bytes,
                     " bytes: ", memory.status().message(), "; ask for fewer slots"));
  }
  return std::unique_ptr<SlotPool>(new SlotPool(backend, *std::move(memory)));
}

SlotPool::SlotPool(kernels::Backend& backend, std::unique_ptr<kernels::SlotMemory> memory)
    : backend_(backend), memory_(std::move(memory)) {
  for (int32_t i = num_slots() - 1; i >= 0; --i) free_.push_back(i);
}

SlotPool::~SlotPool() { assert(num_free() == num_slots() && "a slot outlived its pool"); }

Slot SlotPool::Acquire() {
  if (free_.empty()) return {};
  const int32_t index = free_.back();
  free_.pop_back();
  return Slot(this, index);
}

}  // namespace fmaserver::engine
