// Memory that the backend handed out, and how much of it a matrix can grow into.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "kernels/backend.h"
#include "kernels/cuda/runtime/runtime.h"

namespace fmaserver::kernels::cuda {

/// The first byte and the size of every live buffer.
using LiveBuffers = std::map<const std::byte*, int64_t>;

class DeviceBuffer : public Buffer {
 public:
  DeviceBuffer(Memory memory, std::shared_ptr<LiveBuffers> live)
      : memory_(std::move(memory)), live_(std::move(live)) {
    data = memory_.data();
    bytes = memory_.bytes();
    live_->emplace(data, bytes);
  }
  ~DeviceBuffer() override { live_->erase(data); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

 private:
  Memory memory_;
  std::shared_ptr<LiveBuffers> live_;
};

class DeviceSlots : public SlotMemory {
 public:
  DeviceSlots(Memory memory, const SlotLayout& slot, int32_t slots) : memory_(std::move(memory)) {
    layout = slot;
    count = slots;
  }

  static std::byte* Find(SlotHandle slot) {
    const auto& slots = static_cast<const DeviceSlots&>(*slot.memory);
    return slots.memory_.data() + slot.index * slots.layout.slot_bytes;
  }

 private:
  Memory memory_;
};

/// Whether `rows` rows, from the first of `matrix` on, fit into the matrix's buffer.
inline bool Fits(const LiveBuffers& live, const Matrix& matrix, int64_t rows) {
  const auto* first = reinterpret_cast<const std::byte*>(matrix.data);
  auto buffer = live.upper_bound(first);
  if (buffer == live.begin()) return false;
  --buffer;
  const int64_t bytes = rows * matrix.cols * static_cast<int64_t>(sizeof(float));
  return first + bytes <= buffer->first + buffer->second;
}

}  // namespace fmaserver::kernels::cuda
