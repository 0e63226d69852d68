#include "server/engine/slot_pool.h"

#include <cassert>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace fmaserver {

void Slot::Release() {
  if (pool_ != nullptr) pool_->free_.push_back(data_);
  pool_ = nullptr;
  data_ = nullptr;
}

absl::StatusOr<std::unique_ptr<SlotPool>> SlotPool::Create(Backend& backend, int64_t slot_bytes,
                                                           int32_t num_slots) {
  int64_t bytes = 0;
  if (__builtin_mul_overflow(slot_bytes, int64_t{num_slots}, &bytes)) {
    return absl::ResourceExhaustedError(
        absl::StrCat(num_slots, " slots of ", slot_bytes, " bytes: more than can be addressed"));
  }
  absl::StatusOr<std::unique_ptr<Buffer>> memory = backend.Allocate(bytes);
  if (!memory.ok()) {
    return absl::Status(
        memory.status().code(),
        absl::StrCat("cannot hold ", num_slots, " slots of ", slot_bytes,
                     " bytes: ", memory.status().message(), "; ask for fewer slots"));
  }
  return std::unique_ptr<SlotPool>(new SlotPool(*std::move(memory), slot_bytes, num_slots));
}

SlotPool::SlotPool(std::unique_ptr<Buffer> memory, int64_t slot_bytes, int32_t num_slots)
    : memory_(std::move(memory)), num_slots_(num_slots) {
  for (int32_t i = num_slots - 1; i >= 0; --i) free_.push_back(memory_->data + i * slot_bytes);
}

SlotPool::~SlotPool() { assert(num_free() == num_slots_ && "a slot outlived its pool"); }

Slot SlotPool::Acquire() {
  if (free_.empty()) return {};
  std::byte* data = free_.back();
  free_.pop_back();
  return Slot(this, data);
}

}  // namespace fmaserver
