// Asking the system for memory that it may have to read from a disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fmaserver::kernels::cpu {

/// Knows whether one thread has to wait for a disk. Where everything is in memory it costs a glance
/// at the thread's page faults, and where it is not, pages that are asked for together are read
/// together instead of one by one.
class ReadAhead {
 public:
  /// Whether the thread that calls has waited for pages lately; then it is worth asking.
  bool Pays();

  /// Has the pages of `bytes` on their way, unless they are in memory.
  static void Ask(std::span<const std::byte> bytes);

 private:
  static constexpr int kLately = 1000;  // calls of Pays()

  int64_t faults_ = 0;  // of the thread
  int left_ = 0;        // calls
};

}  // namespace fmaserver::kernels::cpu
