// Emulated device memory: one reserved range of addresses with a shadow, so that every address can
// be checked without a search. Allocations are poisoned, with gaps between them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>

#include "tests/emulator/shadow.h"

namespace fmaserver::kernels::cuda::emulator {

/// What launches loaded and stored, in bytes and in the sectors of 32 bytes that memory moves. A
/// sector that a block touches several times counts once, because the caches keep it that long.
struct Traffic {
  int64_t launches = 0;
  int64_t loaded_bytes = 0;
  int64_t stored_bytes = 0;
  int64_t loaded_sectors = 0;
  int64_t stored_sectors = 0;
  int64_t bus_bytes = 0;  ///< of mapped memory, every access counted
};

class DeviceArena {
 public:
  static constexpr int64_t kBytes = int64_t{4} << 30;
  static constexpr int64_t kAlignment = 256;

  static DeviceArena& Instance();

  /// Null when there is no room.
  std::byte* Allocate(int64_t bytes);
  void Free(std::byte* data);
  /// Makes memory of the host's reachable, without the checks that need a shadow: its accesses are
  /// checked for bounds alone.
  void Map(std::span<std::byte> host);
  void Unmap(const std::byte* host);
  int64_t free_bytes() const { return kBytes - used_; }

  /// Checks and counts a kernel's access.
  void Touch(const void* address, int64_t bytes, Access access, const Actor& actor,
             const Phases& phases, Traffic& traffic, const Site& site);

  /// Checks a copy or a fill: fails when the range is not inside one allocation.
  void CheckRange(const void* address, int64_t bytes, const char* operation);
  void MarkWritten(void* address, int64_t bytes);
  void CopyWritten(void* to, const void* from, int64_t bytes);

 private:
  DeviceArena();
  /// Whether [address, address + bytes) lies in mapped memory.
  bool IsMapped(const std::byte* address, int64_t bytes);
  int64_t OffsetOf(const void* address) const {
    return static_cast<const std::byte*>(address) - data_;
  }

  std::byte* data_;
  Cell* cells_;
  uint32_t* sector_loads_;  // the stamp of the last visit
  uint32_t* sector_stores_;
  std::mutex mutex_;                            // of both maps: any thread may free and unmap
  std::map<int64_t, int64_t> live_;             // offset -> bytes
  std::map<const std::byte*, int64_t> mapped_;  // first byte -> bytes
  std::atomic<int64_t> used_ = 0;  // atomic, because another thread may ask how much is free
};

}  // namespace fmaserver::kernels::cuda::emulator
