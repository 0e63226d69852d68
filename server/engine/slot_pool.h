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

/// One sequence's slot: acquired once, given back by the destructor. Movable, not copyable.
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

  /// Copies the slot out, which has taken exactly `tokens` tokens. Between steps only.
  absl::StatusOr<SnapshotPtr> Save(int64_t tokens) const;

  /// Makes the slot what `other`, of the same pool, is. Between steps only.
  absl::Status CopyFrom(const Slot& other);

  /// Makes the slot what it was when `snapshot`, of this model, was saved. Between steps only.
  absl::Status Restore(const Snapshot& snapshot);

  explicit operator bool() const { return pool_ != nullptr; }

 private:
  friend class SlotPool;
  Slot(SlotPool* pool, int32_t index) : pool_(pool), index_(index) {}
  void Release();

  SlotPool* pool_ = nullptr;
  int32_t index_ = 0;
};

/// Outlives its slots; `backend` outlives it. Thread-compatible. What a slot held before is not
/// erased: a sequence never reads what it did not write (SlotLayout).
class SlotPool {
 public:
  /// RESOURCE_EXHAUSTED, with the sum, when the backend has no room.
  static absl::StatusOr<std::unique_ptr<SlotPool>> Create(kernels::Backend& backend,
                                                          const kernels::SlotLayout& layout,
                                                          int32_t num_slots);
  ~SlotPool();
  SlotPool(const SlotPool&) = delete;
  SlotPool& operator=(const SlotPool&) = delete;

  /// An empty Slot when all are taken.
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
