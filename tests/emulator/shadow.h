// What the emulator knows about each 2 bytes of memory: whether they exist, whether they were
// written, and which threads touched them last, so that it can tell when an access is not ordered
// after another one.
//
// Two accesses by different threads, one of them a store, must be ordered. Blocks of one launch are
// never ordered. Threads of a block are ordered by a block barrier between the accesses, threads of
// a warp also by a warp barrier. The check does not depend on the order in which the accesses
// happened, so a race is found even when the values are right.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda::emulator {

inline constexpr int64_t kCellBytes = 2;

struct Cell {
  enum class Readers : uint8_t { kOne, kWarp, kBlock, kGrid };

  uint32_t write_stamp = 0;  ///< the writer's block phase; 0: none
  uint32_t read_stamp = 0;
  uint16_t writer = 0;  ///< thread of the block
  uint16_t reader = 0;
  uint8_t write_sync = 0;  ///< the writer's count of warp barriers, modulo 256
  uint8_t read_sync = 0;
  Readers readers = Readers::kOne;
  bool exists : 1 = false;
  bool written : 1 = false;
  bool atomic : 1 = false;  ///< the last write was one
};

/// The thread that touches memory. A stamp names a phase of a block: the time between two block
/// barriers.
struct Actor {
  uint32_t stamp = 0;
  uint32_t block = 0;  ///< of the launch
  uint16_t thread = 0;
  uint8_t sync = 0;
};

/// The stamps of one launch; those of earlier launches are smaller.
class Phases {
 public:
  void BeginLaunch() {
    first_ += static_cast<uint32_t>(block_of_.size());
    block_of_.clear();
  }
  uint32_t Next(uint32_t block) {
    block_of_.push_back(block);
    return first_ + static_cast<uint32_t>(block_of_.size()) - 1;
  }
  bool OfThisLaunch(uint32_t stamp) const { return stamp >= first_; }
  uint32_t BlockOf(uint32_t stamp) const { return block_of_[stamp - first_]; }

 private:
  uint32_t first_ = 1;
  std::vector<uint32_t> block_of_;
};

/// Records the access, and fails when it breaks a rule. `where` names the memory in messages.
void Touch(Cell& cell, Access access, const Actor& actor, const Phases& phases, const char* where,
           const Site& site);

}  // namespace fmaserver::kernels::cuda::emulator
