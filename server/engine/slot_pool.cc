#include "server/engine/slot_pool.h"

#include <cassert>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace fmaserver::engine {

void Slot::Release() {
  if (pool_ != nullptr) pool_->free_.push_back(data_);
  pool_ = nullptr;
  data_ = nullptr;
}

absl::StatusOr<SnapshotPtr> Slot::Save(int64_t tokens) const {
  auto snapshot = std::make_shared<Snapshot>(tokens, pool_->layout_.slot_bytes);
  const absl::Status status =
      pool_->backend_.SaveSlot(pool_->layout_, data_, snapshot->mutable_bytes());
  if (!status.ok()) return status;
  return snapshot;
}

absl::Status Slot::CopyFrom(const Slot& other) {
  return pool_->backend_.CopySlot(other.data_, data_, pool_->layout_.slot_bytes);
}

absl::Status Slot::Restore(const Snapshot& snapshot) {
  const auto bytes = static_cast<int64_t>(snapshot.bytes().size());
  const kernels::SlotLayout& layout = pool_->layout_;
  if (bytes != layout.slot_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a state of ", bytes, " bytes; this model's have ", layout.slot_bytes));
  }
  return pool_->backend_.RestoreSlot(layout, snapshot.bytes(), data_);
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
  absl::StatusOr<std::unique_ptr<kernels::Buffer>> memory = backend.Allocate(bytes);
  if (!memory.ok()) {
    return absl::Status(
        memory.status().code(),
        absl::StrCat("cannot hold ", num_slots, " slots of ", slot_bytes,
                     " bytes: ", memory.status().message(), "; ask for fewer slots"));
  }
  return std::unique_ptr<SlotPool>(new SlotPool(backend, *std::move(memory), layout, num_slots));
}

SlotPool::SlotPool(kernels::Backend& backend, std::unique_ptr<kernels::Buffer> memory,
                   const kernels::SlotLayout& layout, int32_t num_slots)
    : backend_(backend), memory_(std::move(memory)), layout_(layout), num_slots_(num_slots) {
  for (int32_t i = num_slots - 1; i >= 0; --i) {
    free_.push_back(memory_->data + i * layout_.slot_bytes);
  }
}

SlotPool::~SlotPool() { assert(num_free() == num_slots_ && "a slot outlived its pool"); }

Slot SlotPool::Acquire() {
  if (free_.empty()) return {};
  std::byte* data = free_.back();
  free_.pop_back();
  return Slot(this, data);
}

}  // namespace fmaserver::engine
