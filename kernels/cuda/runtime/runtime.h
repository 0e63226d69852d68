// What the backend needs of the device's memory, streams and graphs. Two implementations:
// runtime.cu over the CUDA runtime, and tests/emulator/runtime.cc, where a stream is a list of
// operations that run when somebody waits for it, and device memory is poisoned and checked.
//
// Every call is checked: RESOURCE_EXHAUSTED when memory is short, UNAVAILABLE
// when the device fails or is lost; the message names the call and the reason. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fmaserver::kernels::cuda {

struct DeviceInfo {
  std::string name;
  int major = 0;  ///< compute capability
  int minor = 0;
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
  int multiprocessors = 0;
  int64_t shared_bytes_per_block = 0;  ///< dynamic shared memory that a block can ask for
};

/// 0 devices is not an error; a missing driver is UNAVAILABLE.
absl::StatusOr<int> CountDevices();
/// Makes `device` the one that later calls of this thread use.
absl::Status UseDevice(int device);
absl::StatusOr<DeviceInfo> DescribeDevice(int device);

/// Bytes of the device, or of the host where the device can reach them (pinned). Owns.
class Memory {
 public:
  enum class Kind : uint8_t { kDevice, kPinned };

  /// `bytes` > 0; contents unspecified; aligned to 256.
  static absl::StatusOr<Memory> Allocate(Kind kind, int64_t bytes);

  Memory() = default;
  Memory(Memory&& other) noexcept { Swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~Memory();

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  template <typename T>
  T* As() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  Memory(Kind kind, std::byte* data, int64_t bytes) : kind_(kind), data_(data), bytes_(bytes) {}
  void Swap(Memory& other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  Kind kind_ = Kind::kDevice;
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

/// Memory of the host's that the device can reach, for as long as this lives. The host's bytes must
/// stay where they are, and may not be mapped twice.
class MappedMemory {
 public:
  /// RESOURCE_EXHAUSTED; UNAVAILABLE for memory that cannot be mapped.
  static absl::StatusOr<MappedMemory> Map(std::span<std::byte> host);

  MappedMemory() = default;
  MappedMemory(MappedMemory&& other) noexcept { Swap(other); }
  MappedMemory& operator=(MappedMemory&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~MappedMemory();

  /// Where the device finds it.
  std::byte* data() const { return data_; }

 private:
  MappedMemory(std::byte* host, std::byte* data) : host_(host), data_(data) {}
  void Swap(MappedMemory& other) noexcept {
    std::swap(host_, other.host_);
    std::swap(data_, other.data_);
  }

  std::byte* host_ = nullptr;
  std::byte* data_ = nullptr;
};

/// Makes `memory` at least `bytes` large. Returns whether it was replaced; the old contents are
/// then lost. Nothing may still use the old memory.
inline absl::StatusOr<bool> GrowMemory(Memory& memory, Memory::Kind kind, int64_t bytes) {
  if (bytes <= memory.bytes()) return false;
  memory = Memory();  // first, so that both need not fit
  absl::StatusOr<Memory> larger = Memory::Allocate(kind, bytes);
  if (!larger.ok()) return larger.status();
  memory = *std::move(larger);
  return true;
}

/// Operations recorded once and launched as one. Owns.
class Graph {
 public:
  class State;
  explicit Graph(std::unique_ptr<State> state);
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  ~Graph();

  State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

/// Operations on one stream take effect in the order of the calls. Host memory that a copy names
/// must stay as it is until Synchronize(). Owns.
class Stream {
 public:
  static absl::StatusOr<std::unique_ptr<Stream>> Create();
  virtual ~Stream() = default;

  /// The runtime's own handle (cudaStream_t), for libraries that take one.
  virtual void* handle() = 0;

  virtual absl::Status CopyToDevice(void* device, const void* host, int64_t bytes) = 0;
  virtual absl::Status CopyToHost(void* host, const void* device, int64_t bytes) = 0;
  virtual absl::Status CopyOnDevice(void* to, const void* from, int64_t bytes) = 0;
  virtual absl::Status Fill(void* device, uint8_t byte, int64_t bytes) = 0;

  /// Waits for everything before it, and reports the first error of any of it.
  virtual absl::Status Synchronize() = 0;

  /// Between these two calls, operations are recorded and not run.
  virtual absl::Status BeginCapture() = 0;
  virtual absl::StatusOr<Graph> EndCapture() = 0;
  virtual absl::Status Launch(const Graph& graph) = 0;
};

}  // namespace fmaserver::kernels::cuda
