// The cache slots of a model: a fixed number of equal blocks, so that admission is exact.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/engine/snapshot.h"

namespace fmaserver::engine {

class SlotPool;

/// The slot of one sequence; the destructor gives it back. Movable, not copyable.
class Slot {
 public:
  Slot() = default;
  ~Slot() { Release(); }
  Slot(Slot&& other) noexcept { *this = std::move(other); }
  Slot& operator=(Slot&& other) noexcept {
    if (this != &other) {
      Release();
      pool_ = std::exchange(other.pool_, nullptr);
      index_ = other.index_;
    }
    return *this;
  }

  kernels::SlotHandle handle() const;

  /// Copies the slot out when it has taken exactly `tokens` tokens. Only between steps.
  absl::StatusOr<SnapshotPtr> Save(int64_t tokens) const;

  /// Copies `other`, a slot of the same pool, into this one. Only between steps.
  absl::Status CopyFrom(const Slot& other);

  /// Makes the slot what a slot of this model was when `snapshot` was saved. Only between steps.
  absl::Status Restore(const Snapshot& snapshot);

  explicit operator bool() const { return pool_ != nullptr; }

 private:
  friend class SlotPool;
  Slot(SlotPool* pool, int32_t index) : pool_(pool), index_(index) {}
  void Release();

  SlotPool* pool_ = nullptr;
  int32_t index_ = 0;
};

/// It outlives its slots, and `backend` outlives it. Not thread-safe: one thread at a time. The old
/// contents of a slot are not erased: a sequence never reads what it did not write (SlotLayout).
class SlotPool {
 public:
  /// RESOURCE_EXHAUSTED, with the bytes needed, when the slots do not fit into the backend's
  /// memory.
  static absl::StatusOr<std::unique_ptr<SlotPool>> Create(kernels::Backend& backend,
                                                          const kernels::SlotLayout& layout,
                                                          int32_t num_slots);
  ~SlotPool();
  SlotPool(const SlotPool&) = delete;
  SlotPool& operator=(const SlotPool&) = delete;

  /// A free slot, or an empty Slot when all are taken.
  Slot Acquire();

  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_slots() const { return memory_->count; }

 private:
  friend class Slot;
  SlotPool(kernels::Backend& backend, std::unique_ptr<kernels::SlotMemory> memory);

  kernels::Backend& backend_;
  const std::unique_ptr<kernels::SlotMemory> memory_;
  std::vector<int32_t> free_;
};

}  // namespace fmaserver::engine
